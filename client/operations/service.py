"""The systemd unit that keeps a node running, hardened as far as the node's own work allows.

What is left out, and why: MemoryDenyWriteExecute (torch's kernels are compiled into memory), ProcSubset=pid (memory and
processor counts are read from /proc), RestrictNamespaces and PrivateUsers in user units and IPAddressDeny (the address
of the coordinator may change). The gate's workers shut themselves in further, with no_new_privs, rlimits and a seccomp
filter of their own: NoNewPrivileges and SystemCallFilter here are inherited and add up with theirs, and @system-service
is kept whole, with seccomp() beside it, so that they can.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import NodeError
from ..keys import CREDENTIAL, sync_folder

# What a unit may keep running: the commands of `medquorum node` that stay until they are stopped.
WORKS = ("run", "receive", "watch", "realtime")
SYSTEM = Path("/etc/systemd/system")

# Options that any manager, a user's too, can apply without further rights.
_EVERYWHERE = """\
UMask=0077
LimitCORE=0
NoNewPrivileges=yes
SystemCallFilter=@system-service seccomp
SystemCallErrorNumber=EPERM
SystemCallArchitectures=native
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes"""
_SYSTEM_ONLY = """\
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictNamespaces=yes
RemoveIPC=yes
KeyringMode=private"""


class ServiceError(NodeError):
    """The service cannot be installed as asked."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What the unit is about. user: as whom a system unit runs ("" for a user's own unit). work: which of `WORKS`.
    writes: folders besides the node's own that it may write to. credential: a key encrypted by systemd-creds, instead
    of the key's file. program: how medquorum is called."""

    folder: Path
    user: str
    work: str = "run"
    writes: tuple[Path, ...] = ()
    credential: Path | None = None
    program: tuple[str, ...] = (sys.executable, "-m", "medquorum")

    @property
    def name(self) -> str:
        """The unit file's name."""
        return "medquorum-node.service" if self.work == "run" else f"medquorum-{self.work}.service"

    def text(self) -> str:
        """The unit file."""
        start = " ".join(_quoted(word) for word in (*self.program, "node", self.work, "--folder", str(self.folder)))
        own = [f"User={self.user}", *_SYSTEM_ONLY.splitlines()] if self.user else []
        if self.user:
            places = (self.folder, *self.writes)
            own.append(f"ReadWritePaths={' '.join(_quoted(str(place)) for place in places)}")
        if self.credential is not None:
            own.append(f"LoadCredentialEncrypted={CREDENTIAL}:{self.credential}")
        target = "multi-user.target" if self.user else "default.target"
        lines = [
            "[Unit]",
            f"Description=medquorum node {self.work} (research use, not a medical device)",
            *(["After=network-online.target", "Wants=network-online.target"] if self.user else []),
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            f"ExecStart={start}",
            "Restart=on-failure",
            "RestartSec=15",
            # A training step is finished before the process stops.
            "TimeoutStopSec=300",
            "Environment=FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1",
            *_EVERYWHERE.splitlines(),
            *own,
            "",
            "[Install]",
            f"WantedBy={target}",
        ]
        return "\n".join(lines) + "\n"


def install(unit: Unit, folder: Path | None = None) -> Path:
    """Write the unit (to systemd's folder for it, or another) and have systemd check it; returns its file.

    An older one is replaced. Raises ServiceError when the node's folder or the user is not there, the node is not the
    user's, the file cannot be written, or systemd finds a fault; what was there before is left then.
    """
    if unit.work not in WORKS:
        raise ServiceError(f"node {unit.work} does not stay running", fix=f"choose one of {', '.join(WORKS)}")
    if not (unit.folder / "policy.toml").is_file():
        raise ServiceError("the folder holds no node", where=str(unit.folder), fix="medquorum node init first")
    if unit.user:
        _require_owner(unit)
    target = (folder or (SYSTEM if unit.user else _user_folder())) / unit.name
    beside = target.parent / f".new-{os.getpid()}" / unit.name
    try:
        beside.parent.mkdir(parents=True)
        beside.write_text(unit.text(), encoding="utf-8")
        check(beside, user=not unit.user)
        beside.replace(target)
        sync_folder(target.parent)
    except OSError as fault:
        raise ServiceError(
            f"the unit cannot be written ({fault.strerror})",
            where=str(target),
            fix="run this as root (sudo), or give --user for a unit of your own",
        ) from fault
    finally:
        shutil.rmtree(beside.parent, ignore_errors=True)
    return target


def check(unit: Path, user: bool) -> None:
    """Let `systemd-analyze verify` look at a unit file; ServiceError with what it says."""
    if shutil.which("systemd-analyze") is None:
        raise ServiceError("this machine has no systemd", fix="start medquorum node run by what it has instead")
    with tempfile.TemporaryDirectory() as runtime:
        done = subprocess.run(
            ["systemd-analyze", *(["--user"] if user else []), "verify", "--man=no", str(unit)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            # Without a login there is no user manager's folder, which the check wants to know.
            env=os.environ | ({"XDG_RUNTIME_DIR": runtime} if user else {}),
        )
    # Of a fault in another unit of this machine it speaks as well; only ours counts, or that it could not look.
    ours = [line for line in done.stderr.splitlines() if unit.name in line or line.startswith("Failed to initialize")]
    if ours:
        raise ServiceError(f"systemd finds a fault in the unit ({ours[0]})", where=str(unit), fix=_REPORT)


_REPORT = "correct what it names (the user, the path of the program), or report this line"


def following(unit: Unit) -> list[str]:
    """What to type next."""
    if unit.user:
        return ["systemctl daemon-reload", f"systemctl enable --now {unit.name}"]
    name = pwd.getpwuid(os.getuid()).pw_name
    # Without lingering a user's units end when the user logs out.
    return [
        f"sudo loginctl enable-linger {name}",
        "systemctl --user daemon-reload",
        f"systemctl --user enable --now {unit.name}",
    ]


def start(unit: Unit) -> None:
    """Do what `following` says; ServiceError with the first command that fails."""
    for command in following(unit):
        try:
            done = subprocess.run(command.split(), capture_output=True, text=True, timeout=120, check=False)
        except OSError as fault:
            raise ServiceError(f"{command} cannot be run ({fault.strerror})", fix="run it by hand") from fault
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split())
            raise ServiceError(f"{command} failed ({said})", fix="the unit is installed; run this by hand once it can")


def _require_owner(unit: Unit) -> None:
    try:
        user = pwd.getpwnam(unit.user)
    except KeyError as fault:
        raise ServiceError(
            f"there is no user {unit.user!r}", fix=f"sudo useradd --system --create-home {unit.user}"
        ) from fault
    if user.pw_uid == 0:
        raise ServiceError("a node does not run as root", fix="name an ordinary user with --run-as")
    owner = unit.folder.stat().st_uid
    if owner != user.pw_uid:
        raise ServiceError(
            f"the node's folder belongs to user {owner}, not to {unit.user}",
            where=str(unit.folder),
            fix=f"sudo chown -R {unit.user}: {unit.folder}",
        )


def _user_folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "systemd" / "user"


def _quoted(word: str) -> str:
    """A word as systemd reads it: quoted where it must be, its own specifiers and variables taken literally."""
    literal = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{literal}"' if literal != word or " " in word else word
