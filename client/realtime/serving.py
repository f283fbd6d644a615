"""The service as a node runs it: its gate, its releases, its audit log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..audit_log import AuditLog
from ..gate import Examiner
from ..gate.gate import cores
from ..keys import open_node_key
from ..releases import Releases
from .looking import Lender, Looker
from .service import Service


def serving(folder: Path, gate: Examiner, store: Lender, listen: str, hosts: Sequence[str]) -> Service:
    """A node's real-time service at `listen`, to be used in a `with`; every call is noted as an access.

    hosts: what callers call this machine (default: localhost). Raises NodeError when it cannot listen there.
    """
    audit = AuditLog(folder / "store", open_node_key(folder / "store"))
    return Service(
        folder,
        Looker(Releases(folder / "releases"), gate, store, cores()),
        listen,
        tuple(hosts) or ("localhost", "127.0.0.1"),
        lambda caller, images: _note(audit, caller, images),
    )


def _note(audit: AuditLog, caller: str, images: int) -> None:
    audit.append("access", caller, by="realtime", images=images)
