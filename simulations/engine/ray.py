"""The federation in Flower's simulation engine, for what one machine cannot hold.

Flower's own actors are interchangeable: two messages to one node may land in two processes. A node keeps its network
and training set in memory between messages, and one day the secrets of a sum in progress, so each is hosted by one
resident Ray actor, and Flower's actors only pass messages on.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.serverapp import ServerApp

from ...client.aggregation import SiteSide
from ...client.rights import SimulationRights


def run_on_ray(
    app: ServerApp,
    context: Context,
    folders: list[Path],
    rights: SimulationRights | None,
    side: SiteSide | None,
) -> None:
    """Run `app` with one supernode for each of `folders`; whatever the app raises comes out here.

    The folders are opened where Ray puts the hosts, so on several machines they lie on a shared file system.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # The public run_simulation() is deprecated in flwr 1.41 and takes no run configuration; this is what both it and
    # `flwr run` call. tests/simulations/test_engine.py holds the signature.
    from flwr.simulation.run_simulation import _run_simulation  # pyright: ignore[reportPrivateUsage]
    from flwr.supercore.telemetry import EventType

    logging.getLogger("flwr").setLevel(logging.ERROR)
    _run_simulation(
        num_supernodes=len(folders),
        exit_event=EventType.PYTHON_API_RUN_SIMULATION_LEAVE,
        client_app=client_app([str(folder.absolute()) for folder in folders], rights, side),
        server_app=app,
        server_app_context=context,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )


def client_app(folders: list[str], rights: SimulationRights | None, side: SiteSide | None) -> ClientApp:
    """A ClientApp whose supernode number i answers as the node in folders[i]."""
    app = ClientApp()

    def answer(message: Message, context: Context) -> Message:
        import ray

        number = int(context.node_config["partition-id"])
        host = _host(folders[number], rights, side)
        data: bytes = ray.get(host.answer.remote(message_to_proto(message).SerializeToString()))
        proto = ProtoMessage()
        proto.ParseFromString(data)
        return message_from_proto(proto)

    app.query()(answer)
    app.train()(answer)
    app.evaluate()(answer)
    return app


class NodeHost:
    """Keeps one node open in a resident process and answers serialised Flower messages with it."""

    def __init__(self, folder: str, rights: SimulationRights | None, side: SiteSide | None) -> None:
        from ...client.node import Node

        self._node = Node.open(Path(folder), rights, side)

    def answer(self, data: bytes) -> bytes:
        """Answer one serialised message."""
        from ...client.answering import reply

        proto = ProtoMessage()
        proto.ParseFromString(data)
        return message_to_proto(reply(self._node, message_from_proto(proto))).SerializeToString()


# Ray ends an actor when the last handle in the process that started it is gone.
_started: dict[str, Any] = {}  # Ray's handles have no type of their own


def _host(folder: str, rights: SimulationRights | None, side: SiteSide | None) -> Any:
    """The resident host of a node, started by whoever needs it first and found by name by everybody else.

    It asks Ray for no CPU: Flower's actors hold those while they wait for it, so that as many nodes work at a time as
    there are CPUs.
    """
    import ray

    try:
        return ray.get_actor(folder)
    except ValueError:
        # A node's messages come one after the other, so nobody else is starting it now.
        resident: Any = ray.remote(NodeHost)
        placed = resident.options(name=folder, num_cpus=0, scheduling_strategy="SPREAD")
        _started[folder] = placed.remote(folder, rights, side)
        return _started[folder]
