"""All checks of a node, in the order in which what they look at is needed."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...audit_log import AuditLog
from ...errors import NodeError
from ...keys import NodeKey, key_path, open_node_key
from ...policy import Policy
from ..running import Turns, holder, left_by_the_running, turns_of
from .check import Check, attempted, failed, passed, skipped
from .line import line
from .machine import disk, memory, sandbox
from .pacs import echoes

_KEYED = ("store", "readings", "identity", "audit log")


def examine(folder: Path) -> list[Check]:
    """Look at everything that the node in `folder` needs. Changes nothing, and raises nothing for what it finds."""
    if not (folder / "policy.toml").is_file():
        return [failed("folder", f"{folder} holds no node", f"medquorum node init SITE --folder {folder}")]
    made = [_modes(folder), disk(folder), memory(), sandbox()]
    made.append(attempted("policy", lambda: f"{Policy.read(folder / 'policy.toml').minimum_quorum} sites at least"))
    made.append(attempted("ledger", lambda: _ledger(folder)))
    made.append(attempted("key", lambda: _key(folder)))
    if made[-1].state == "passed":
        key = open_node_key(folder / "store")
        made.append(attempted("store", lambda: _store(folder)))
        made.append(_readings(folder))
        made.append(attempted("identity", lambda: _identity(folder, key)))
        made.append(
            attempted("audit log", lambda: f"{AuditLog(folder / 'store', key).verify().entries} entries, whole")
        )
        made += _network(folder, key)
    else:
        made += [skipped(name, "the key does not open") for name in _KEYED]
    return [*made, _accounts(folder), *echoes(folder)]


def lines(checks: Sequence[Check]) -> list[str]:
    """The same in words; under each failure what to do."""
    said: list[str] = []
    for check in checks:
        said.append(f"{check.state:8} {check.name:10} {check.said}")
        if check.fix:
            said.append(f"{'':8} {'':10} Fix: {check.fix}")
    return said


def _modes(folder: Path) -> Check:
    """What must be readable by the node's user alone is."""
    named = [folder / "store", folder / "network", folder / "network" / "identity", folder / "network" / "flower.key"]
    named += [folder / "accounts.sqlite", folder / "desk", folder / "desk.sessions"]
    for path in named:
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077:
                right = "700" if path.is_dir() else "600"
                return failed("folder", f"{path} is open to other users (mode {mode:04o})", f"chmod {right} {path}")
    return passed("folder", f"{folder}; store and keys are readable by their user alone")


def _ledger(folder: Path) -> str:
    from ....privacy.ledger import Ledger

    ledger = Ledger.open(folder / "ledger.sqlite")
    return f"whole; epsilon {ledger.left():.4g} of {ledger.epsilon_cap:g} is left"


def _key(folder: Path) -> str:
    open_node_key(folder / "store")
    return f"{key_path(folder / 'store')} opens the store"


def _store(folder: Path) -> str:
    from ...store import Store

    running = holder(folder / "store")
    if running is not None:
        return f"open in process {running}"
    with Store.open(folder / "store", audited=False) as store:
        head = store.verify()
        AuditLog(folder / "store", open_node_key(folder / "store")).verify(store.audit_head())
        return f"whole; {store.count()} images, {head.events} events"


def _readings(folder: Path) -> Check:
    """How many patients plans wait for. Not a fault of the machine, so never a failure."""
    from ...store import Store

    turns: Turns | None = None
    try:
        if holder(folder / "store") is not None:
            turns = left[1] if (left := left_by_the_running(folder)) is not None else None
        else:
            with Store.open(folder / "store", audited=False) as store:
                turns = turns_of(folder, store)
    except (NodeError, OSError) as fault:
        return skipped("readings", f"they cannot be counted: {fault}")
    if turns is None:
        return skipped("readings", "the node has only just started")
    if turns.unread:
        return skipped(
            "readings",
            f"{turns.unread} of {turns.patients} patients whose turn has come are not read: no plan is joined before",
        )
    return passed("readings", f"the turn of {turns.patients} patients to take part in plans has come; all are read")


def _accounts(folder: Path) -> Check:
    """Who could come in if the review page were on the LAN; says nothing of whether it is."""
    from ...accounts.administration import Administration
    from ...accounts.book import FILE, Book
    from ...audit_log import Untraced

    if not (folder / FILE).is_file():
        return passed("accounts", "none: the review page is for this machine alone")

    def counted() -> str:
        book = Book(folder)
        try:
            found = Administration(book, Untraced()).all()
        finally:
            book.close()
        able = [one for one in found if one.standing in ("active", "provider")]
        admins = sum(one.role == "admin" for one in able)
        return f"{len(able)} of {len(found)} can sign in to the review page, {admins} of them admins"

    return attempted("accounts", counted)


def _identity(folder: Path, key: NodeKey) -> str:
    from ....privacy.identity import fingerprint
    from ...network.settings import NetworkSettings

    return " ".join(fingerprint(NetworkSettings(folder, key).identity().public))


def _network(folder: Path, key: NodeKey) -> list[Check]:
    from ...network.settings import NetworkSettings

    try:
        endpoint = NetworkSettings(folder, key).endpoint()
    except NodeError:
        return [skipped("enrolment", "this node has not joined a consortium yet (medquorum node enrol)")]
    return line(endpoint)
