"""`medquorum node accept-unseen`: which proposals may stand without anybody looking, and letting them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ..network.commands import AsJson, Folder, node

if TYPE_CHECKING:
    from ..accepting import Standing


@node.command("accept-unseen")
def accept_unseen(
    folder: Folder,
    precision: Annotated[
        float | None,
        typer.Option(help="The share of what is accepted that must be right, by a lower bound; above 0.5, below 1."),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Accept what may be, and go on so whenever the node has proposed.")
    ] = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take back everything that was accepted unseen, and stop accepting.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say which proposals may be accepted unseen, by what readers said of patients whose proposals were hidden.

    Off until --apply. What is accepted is the model's word: exported as PRELIMINARY, superseded by any reader's word,
    never trained on and never measured by. Research use only: not a medical device, a human decides.
    """
    from ..accepting import accept, keep_precision, look, precision_kept
    from ..annotations import utc_now
    from ..releases import ReleaseError, Releases
    from ..store import Store

    if apply and withdraw:
        raise typer.BadParameter("--apply or --withdraw, not both")
    with Store.open(folder / "store") as store:
        if withdraw:
            keep_precision(store, None)
            store.acceptances().withdraw("by command", utc_now())
            typer.echo(json.dumps({"accepted": 0}) if as_json else "Nothing is accepted unseen any more.")
            return
        kept = precision_kept(store)
        asked = precision if precision is not None else kept
        if asked is None:
            raise typer.BadParameter("name the --precision that is asked for, such as 0.95")
        release = Releases(folder / "releases").current()
        if release is None:
            raise ReleaseError("this node has no release yet", where=str(folder), fix="medquorum node adopt RELEASE")
        if apply:
            keep_precision(store, asked)
            standing, accepted = accept(store, release, asked)
            kept = asked
        else:
            standing = look(store, release, asked)
            accepted = len(store.acceptances().in_force(release.hash.hex()))
        name = release.hash.hex()
    if as_json:
        plain = {"release": name, "precision": asked, "kept": kept, "accepted": accepted, **asdict(standing)}
        typer.echo(json.dumps(plain, indent=1, default=str))
        return
    for line in _lines(name, asked, standing):
        typer.echo(line)
    typer.echo(f"{accepted} images are accepted unseen now." if kept else "Nothing is accepted: --apply does that.")


def _lines(release: str, precision: float, standing: Standing) -> list[str]:
    found = [
        f"Release {release[:12]}, precision {precision:.1%}: {standing.patients} hidden patients are read; "
        f"{standing.waiting} images wait that nobody need read."
    ]
    if standing.unread > standing.waiting:
        found.append(
            f"{standing.unread - standing.waiting} more unread images are of patients who take part in plans, and must "
            "be read: medquorum node training-rule --share 0.5 would let the others be."
        )
    for line, reach in zip(standing.lines, standing.reach, strict=True):
        what = f"    {line.finding} {line.side}: "
        if line.threshold is not None:
            found.append(
                f"{what}from {line.threshold:.4f} on, right of {line.right} of {line.of} hidden patients, so of at "
                f"least {line.bound:.1%}; {reach} waiting images reach it."
            )
        elif line.patients < line.needed:
            found.append(
                f"{what}nothing; {line.patients} hidden patients are proposed so, {line.needed} are needed at least "
                f"({line.needed - line.patients} more)."
            )
        else:
            found.append(f"{what}nothing; too many of {line.patients} hidden patients were proposed wrong.")
    if standing.look is not None:
        found.append(
            f"By look {standing.look.number}, wrong with chance {standing.look.level:.3g} at most in all its lines; "
            f"the next is due at {standing.next_at} hidden patients."
        )
    return found
