"""The command `medquorum simulate verify`: a finished folder in, whether its figures come again out.

Nothing heavy is imported before the command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import Verbose, require_extra, watched

if TYPE_CHECKING:
    from .running import Verified

_MOST_SHOWN = 20


def verify(
    folder: Annotated[
        Path,
        typer.Argument(
            file_okay=False, help="Folder of a finished simulate run, compare or sweep.", show_default=False
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Where the study's images are now, if elsewhere.", show_default=False),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Relative difference up to which two numbers are equal.")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object, and nothing else, on stdout.")] = False,
    verbose: Verbose = False,
) -> None:
    """Run a finished study again and compare every figure. Exits with 1 if one differs."""
    require_extra()
    from ..progress import stage_of

    with watched(verbose) as progress:
        with stage_of(progress, "Load libraries"):
            from .running import verify as run_again
        found = run_again(folder, data, tolerance, progress)
    sys.stdout.write(_json(found) if as_json else _text(found))
    if not found.good:
        raise typer.Exit(1)


def _json(found: Verified) -> str:
    return json.dumps({"good": found.good, **asdict(found)}, indent=1, ensure_ascii=False) + "\n"


def _text(found: Verified) -> str:
    lines: list[str] = []
    if found.good:
        lines.append(f"{found.kind} of {found.study}: every figure of {found.compared} files is equal.")
    else:
        lines.append(f"{found.kind} of {found.study}: {len(found.differences)} figures differ.")
        lines += [f"  {one.where}: {one.kept} was kept, {one.now} came" for one in found.differences[:_MOST_SHOWN]]
        more = len(found.differences) - _MOST_SHOWN
        lines += [f"  and {more} more (--json lists all)"] if more > 0 else []
    for what, changed in (("version", found.versions), ("machine", found.machine)):
        lines += [f"  {what} of {name}: {kept} then, {now} now" for name, kept, now in changed]
    return "\n".join(lines) + "\n"
