"""Flower's SuperLink as a child process on loopback, and the few of its Control calls that we need.

Everything that knows Flower's internals on the coordinator's side is in this file; contract tests pin it to the
installed version. SuperLink listens on 127.0.0.1 only: its Control and Runtime interfaces trust whoever reaches the
port, so nobody outside this machine may (see docs/decisions/flower-behind-a-front-door.md).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...privacy.certificates import Issued
from .errors import SuperLinkError

if TYPE_CHECKING:
    from flwr.supercore.control.control_http_client import ControlHttpClient

LOOPBACK = "127.0.0.1"
STARTUP_SECONDS = 180.0

_LAUNCHER_PROJECT = """[project]
name = "medquorum-launcher"
version = "0.1.0"
description = "Starts the installed medquorum coordinator; carries no code of its own."
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "medquorum"

[tool.flwr.app.components]
serverapp = "launcher.app:app"
clientapp = "launcher.app:client"

[tool.flwr.app.config]
run-folder = ""
"""
# Flower wants an app bundle with a client part; ours is empty, since a node never asks for the bundle.
_LAUNCHER_MODULE = """from flwr.clientapp import ClientApp

from medquorum.server.network.app import app

client = ClientApp()
__all__ = ["app", "client"]
"""


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def environment(folder: Path) -> dict[str, str]:
    """The environment of SuperLink and its children: no telemetry, no update check, state under `folder`."""
    scripts = str(Path(sys.executable).parent)
    return os.environ | {
        "PATH": scripts + os.pathsep + os.environ.get("PATH", ""),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_HOME": str(folder / "flower"),
        "FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PUSHES": "4",
    }


class SuperLink:
    """A running SuperLink. Use `running`, which stops it again."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, certificate: Issued, log: Path) -> None:
        self._process = process
        self._certificate = certificate
        self._log = log
        self.port = port
        self.context = ssl.create_default_context(cafile=str(certificate.authority))

    @property
    def pid(self) -> int:
        """Process id, for tests that kill it."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def wait_until_up(self) -> None:
        """Return once the port answers; SuperLinkError when the process ends or does not answer in time."""
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline:
            if not self.alive:
                break
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), 0.5):
                return
            time.sleep(0.1)
        raise SuperLinkError(
            "SuperLink did not come up", where=str(self._log), fix="read the end of that log; free the port it names"
        )

    def register(self, node_key: bytes) -> int:
        """Admit a node by its P-384 public key (PEM) and return its Flower node id; admitting twice is harmless."""
        from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest

        with self._control() as control:
            for node in control.ListNodes(ListNodesRequest()).nodes_info:
                if node.public_key == node_key and node.status != "unregistered":
                    return int(node.node_id)
            return int(control.RegisterNode(RegisterNodeRequest(public_key=node_key)).node_id)

    def unregister(self, node_key: bytes) -> None:
        """Shut a node out; from the next message on it is refused."""
        from flwr.proto.control_pb2 import ListNodesRequest, UnregisterNodeRequest

        with self._control() as control:
            for node in control.ListNodes(ListNodesRequest()).nodes_info:
                if node.public_key == node_key and node.status != "unregistered":
                    control.UnregisterNode(UnregisterNodeRequest(node_id=node.node_id))

    def start_run(self, directory: Path) -> int:
        """Start our ServerApp on the run in `directory`; returns Flower's run id."""
        files = {
            "pyproject.toml": _LAUNCHER_PROJECT.encode(),
            "README.md": b"Launcher of the installed medquorum coordinator.\n",
            "LICENSE": b"Apache-2.0\n",
            "launcher/__init__.py": b"",
            "launcher/app.py": _LAUNCHER_MODULE.encode(),
        }
        return self.start_app(files, {"run-folder": str(directory.resolve())})

    def start_app(self, files: Mapping[str, bytes], config: Mapping[str, str | int]) -> int:
        """Start a Flower app made of `files` with values of its run configuration; returns Flower's run id."""
        from flwr.cli.build import build_fab_from_files
        from flwr.common.serde import fab_to_proto, user_config_to_proto
        from flwr.proto.control_pb2 import StartRunRequest
        from flwr.supercore.fab import Fab

        bundle, _ = build_fab_from_files(dict(files))
        request = StartRunRequest(
            fab=fab_to_proto(Fab(hashlib.sha256(bundle).hexdigest(), bundle, {})),
            override_config=user_config_to_proto(dict(config)),
            federation="",
        )
        with self._control() as control:
            return int(control.StartRun(request).run_id)

    def run_is_over(self, run: int) -> str | None:
        """None while the run is pending or running; otherwise how it ended ("completed", "failed: …")."""
        from flwr.proto.control_pb2 import ListRunsRequest

        with self._control() as control:
            listed = control.ListRuns(ListRunsRequest(run_id=run)).run_dict
        for entry in listed.values():
            if entry.status.status != "finished":
                return None
            detail = f": {entry.status.details}" if entry.status.details else ""
            return f"{entry.status.sub_status}{detail}"
        return "unknown to SuperLink"

    def stop_run(self, run: int) -> None:
        """End a run whose process is gone; harmless when it is over."""
        from flwr.proto.control_pb2 import StopRunRequest

        with contextlib.suppress(SuperLinkError), self._control() as control:
            control.StopRun(StopRunRequest(run_id=run))

    def stop_all_runs(self) -> None:
        """End whatever runs the database remembers: their processes died with the SuperLink before this one, and
        their messages must reach no node any more."""
        from flwr.proto.control_pb2 import ListRunsRequest

        with self._control() as control:
            listed = control.ListRuns(ListRunsRequest()).run_dict
        for run, entry in listed.items():
            if entry.status.status != "finished":
                self.stop_run(int(run))

    def stop(self, patience: float = 5.0) -> None:
        """Ask the process to end, and end it after `patience` seconds."""
        if self.alive:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        if self.alive:
            self._process.kill()
            self._process.wait()

    @contextlib.contextmanager
    def _control(self) -> Generator[ControlHttpClient]:
        import httpx
        from flwr.supercore.control.control_http_client import ControlHttpClient
        from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor

        interceptors = [RuntimeVersionHttpInterceptor(component_name="flwr CLI")]
        try:
            with ControlHttpClient(
                f"https://{LOOPBACK}:{self.port}", interceptors=interceptors, verify=self.context
            ) as control:
                yield control
        except httpx.HTTPError as fault:
            raise SuperLinkError(
                f"SuperLink refused a call ({type(fault).__name__})",
                where=str(self._log),
                fix="read the end of that log",
            ) from fault


@contextlib.contextmanager
def running(folder: Path, certificate: Issued) -> Generator[SuperLink]:
    """SuperLink on a free loopback port, with node authentication and its database in `folder`; stopped on leaving."""
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), folder / "superlink.log"
    command = [
        *(sys.executable, "-m", "medquorum.server.network.tied"),
        str(Path(sys.executable).parent / "flower-superlink"),
        *("--ssl-certfile", str(certificate.certificate), "--ssl-keyfile", str(certificate.key)),
        *("--ssl-ca-certfile", str(certificate.authority), "--enable-supernode-auth"),
        *("--database", str(folder / "superlink.sqlite"), "--host", LOOPBACK, "--port", str(port)),
        "--disable-runtime-dependency-installation",
    ]
    with log.open("ab") as stream:
        process = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=stream, stderr=stream)
    link = SuperLink(process, port, certificate, log)
    try:
        link.wait_until_up()
        yield link
    finally:
        link.stop()
