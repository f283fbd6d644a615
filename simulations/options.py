"""What the commands of simulations share: options, and what must be there before they run."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from .errors import SimulationError

# What a study needs beyond the base install, as the extra `simulate` brings it.
_NEEDED = ("alembic", "jinja2", "matplotlib", "sqlalchemy", "sqlcipher3")

StudyFile = Annotated[
    Path, typer.Argument(help="The study's TOML file, or the name of a bundled study.", show_default=False)
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show libraries' logs and warnings, and tracebacks.")]


def study_file(study: Path) -> Path:
    """The file that a command's argument names: a bare word that names no file here is a study that comes with
    medquorum."""
    from .study import bundled

    return study if study.exists() or study.suffix or len(study.parts) > 1 else bundled(str(study))


def shown(path: Path) -> str:
    """The path as somebody in the working directory would type it."""
    whole, here = path.resolve(), Path.cwd().resolve()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)


def fresh_folder(study: str) -> Path:
    """runs/STUDY, or runs/STUDY-2 and so on: the first that does not exist."""
    name = re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-") or "study"
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


def require_extra(*more: str) -> None:
    """SimulationError when a package that simulations need, or one of `more`, is not installed."""
    missing = [name for name in (*_NEEDED, *more) if find_spec(name) is None]
    if missing:
        raise SimulationError(
            f"simulations need packages that are not installed: {', '.join(missing)}",
            fix="pip install 'medquorum[simulate]'",
        )
