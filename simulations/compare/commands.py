"""The command `medquorum simulate compare`: a study in, one table of every way of learning from its data out.

Nothing heavy is imported before the command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...toml_table import nearest
from ..errors import StudyError
from ..options import StudyFile, Verbose, fresh_folder, require_extra, shown, study_file

if TYPE_CHECKING:
    from .running import Options


def compare(
    study: StudyFile,
    data: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder that holds the study's images.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Folder for cells, table and plots; the same one again goes on. The default is a new runs/STUDY.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="How many seeds, from the study's own upwards; each divides anew.")
    ] = 5,
    epsilon: Annotated[str, typer.Option(help="Epsilons of the private trainings, comma-separated.")] = "1,3,8",
    mode: Annotated[
        str | None,
        typer.Option(help="Private modes, comma-separated; the default is every one there is.", show_default=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the content of compare.json, and nothing else, on stdout.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table as Markdown, and nothing else, on stdout.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Pooled, alone and federated, without and with privacy: every way of learning, tested on the same patients."""
    if as_json and markdown:
        raise StudyError("two forms of output were asked for", where="--json, --markdown", fix="give one of them")
    require_extra()
    from ..console import console, watching
    from ..progress import StageFinished, StageStarted
    from ..study import load_study

    # Whatever a library prints belongs to the watcher: standard output is for the result alone.
    with redirect_stdout(sys.stderr), watching(sys.stderr, bars=not verbose) as progress:
        loaded = load_study(study_file(study))
        epsilons = _epsilons(epsilon)
        began = time.monotonic()
        progress(StageStarted("Load libraries", 0))
        from ..run_log import run_log
        from . import document, report, show
        from .running import Options, compare_cells

        progress(StageFinished("Load libraries", time.monotonic() - began))
        options = Options(seeds, epsilons, _modes(mode))
        folder = fresh_folder(f"compare-{loaded.name}") if out is None else out
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "run.log"
        try:
            with run_log(log, sys.stderr if verbose else None):
                comparison = compare_cells(loaded, data, folder, options, progress)
                began = time.monotonic()
                progress(StageStarted("Write the report", 0))
                written = report.write(comparison, _command(study, data, options), folder)
                progress(StageFinished("Write the report", time.monotonic() - began))
        except Exception:
            if log.exists() and not verbose:
                typer.echo(f"The run's log: {shown(log)}", err=True)
            raise
    if as_json:
        sys.stdout.write(document.dump(comparison, _command(study, data, options)))
    elif markdown:
        sys.stdout.write(show.markdown(comparison))
    else:
        show.summary(comparison, console(sys.stdout), [(one.what, shown(one.path)) for one in written])


def _command(study: Path, data: Path | None, options: Options) -> str:
    words = ["medquorum", "simulate", "compare", str(study), *([] if data is None else ["--data", str(data)])]
    words += ["--seeds", str(options.seeds), "--epsilon", ",".join(f"{one:g}" for one in options.epsilons)]
    return shlex.join([*words, "--mode", ",".join(options.modes)])


def _epsilons(text: str) -> tuple[float, ...]:
    """The numbers of --epsilon, each once, rising."""
    found: set[float] = set()
    for word in text.split(","):
        try:
            value = float(word)
        except ValueError:
            value = -1.0
        if not 0.0 < value <= 1000.0:
            raise StudyError(
                f"{word.strip()!r} is not an epsilon",
                where="--epsilon",
                fix="give numbers above 0 and at most 1000, such as 1,3,8",
            )
        found.add(value)
    return tuple(sorted(found))


def _modes(text: str | None) -> tuple[str, ...]:
    """The words of --mode, each a private mode of this version."""
    from .running import private_modes

    known = private_modes()
    if text is None:
        return known
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        if word not in known:
            fix = "leave it out: the rows without privacy are always there" if word == "none" else nearest(word, known)
            raise StudyError(f"{word!r} is not a private mode of this version", where="--mode", fix=fix)
    return words
