"""`medquorum node …`, one file for each kind of work; every command is registered here."""

from __future__ import annotations

from typer.models import CommandInfo, TyperInfo

from ..network.commands import node
from . import (
    accepting,
    auditing,
    export,
    intake,
    keeping,
    labels,
    proposals,
    quality,
    readers,
    realtime,
    review,
    running,
    training,
)

__all__ = [
    "accepting",
    "auditing",
    "export",
    "intake",
    "keeping",
    "labels",
    "node",
    "proposals",
    "quality",
    "readers",
    "realtime",
    "review",
    "running",
    "training",
]

_PANELS = {
    "Set up and join": ("init", "enrol", "trust", "distrust", "roster", "policy", "budget", "doctor"),
    "Run": ("run", "status", "service", "audit", "realtime", "allow-caller"),
    "Images in": ("import", "watch", "pull", "receive", "quarantine"),
    "Proposals": ("adopt", "propose", "accept-unseen"),
    "Reading": ("review", "review-certificate", "reader", "label-rule", "training-rule", "disputes", "send-back"),
    "What came of it": ("quality", "provenance", "export"),
    "Keep and forget": ("rekey", "backup", "restore", "consent", "erase", "verify-erasure"),
}
_PANEL_OF = {name: panel for panel, names in _PANELS.items() for name in names}


def _arrange() -> None:
    """Put every command into the panel of `node --help` where its user looks for it, in the panels' order."""
    place = {name: number for number, name in enumerate(_PANEL_OF)}
    for listed in (node.registered_commands, node.registered_groups):
        for one in listed:
            one.rich_help_panel = _PANEL_OF[_name(one)]
        listed.sort(key=lambda one: place[_name(one)])


def _name(one: CommandInfo | TyperInfo) -> str:
    return one.name or str(getattr(one.callback, "__name__", "")).replace("_", "-")


_arrange()
