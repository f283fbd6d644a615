"""What the commands of simulations share: options, what must be there before they run, and who watches them."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import SimulationError, StudyError

if TYPE_CHECKING:
    from .progress import Progress

# What a study needs beyond the base install, as the extra `simulate` brings it.
_NEEDED = ("alembic", "jinja2", "matplotlib", "sqlalchemy", "sqlcipher3")

StudyFile = Annotated[
    Path, typer.Argument(help="The study's TOML file, or the name of a bundled study.", show_default=False)
]
Data = Annotated[
    Path | None, typer.Option(file_okay=False, help="Folder that holds the study's images.", show_default=False)
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


def require_one_form(as_json: bool, markdown: bool) -> None:
    """StudyError when standard output is asked to be two things."""
    if as_json and markdown:
        raise StudyError("two forms of output were asked for", where="--json, --markdown", fix="give one of them")


def typed(command: str, study: Path, data: Path | None, *more: str) -> str:
    """A command of `medquorum simulate` as somebody would type it again."""
    return shlex.join(
        ["medquorum", "simulate", command, str(study), *([] if data is None else ["--data", str(data)]), *more]
    )


@contextmanager
def watched(verbose: bool) -> Generator[Progress]:
    """Show what happens on standard error. Whatever a library prints goes there as well: standard output is for the
    result alone."""
    from .console import watching

    with redirect_stdout(sys.stderr), watching(sys.stderr, bars=not verbose) as progress:
        yield progress


@contextmanager
def kept_log(folder: Path, verbose: bool) -> Generator[None]:
    """Keep the log of what the block does as run.log in the folder, which is made; a fault tells where it lies."""
    from .run_log import run_log

    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "run.log"
    try:
        with run_log(log, sys.stderr if verbose else None):
            yield
    except Exception:
        if log.exists() and not verbose:
            typer.echo(f"The run's log: {shown(log)}", err=True)
        raise
