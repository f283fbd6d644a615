"""The commands `medquorum demo` and `medquorum simulate run`: a study in, its table and its report out.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .audit.commands import audit
from .compare.commands import compare
from .days.commands import days
from .describe.commands import describe
from .errors import StudyError
from .options import Data, StudyFile, Verbose, fresh_folder, kept_log, require_extra, shown, study_file, typed, watched
from .published.commands import published
from .sweep.commands import sweep
from .verify.commands import verify

if TYPE_CHECKING:
    from .progress import Progress
    from .report import Report, Written
    from .study import Study

simulate = typer.Typer(no_args_is_help=True, help="Run federations of many hospitals on this machine.")


simulate.command("describe")(describe)
simulate.command("compare")(compare)
simulate.command("sweep")(sweep)
simulate.command("verify")(verify)
simulate.command("audit")(audit)
simulate.command("days")(days)
simulate.command("published")(published)


class Engine(StrEnum):
    """What carries the messages between the coordinator and the nodes of a simulation."""

    inprocess = "inprocess"
    ray = "ray"
    processes = "processes"


Out = Annotated[
    Path | None,
    typer.Option(
        file_okay=False,
        help="Folder for the run and its report; the default is a new one, runs/STUDY.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the content of report.json, and nothing else, on stdout.")]


def demo(
    out: Out = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the whole run; the default is the study's.", show_default=False)
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Run the coordinator and each of this many hospitals (4) as a process of its own, over TLS.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Four synthetic hospitals label images and train one model together, in about two minutes."""
    from .study import bundled, load_study

    study = load_study(bundled("demo"), seed)
    command = ["medquorum", "demo", *([] if seed is None else ["--seed", str(seed)])]
    if processes is not None:
        _require_processes(study, processes)
        command += ["--processes", str(processes)]
    engine = Engine.inprocess if processes is None else Engine.processes
    _run(study, None, out, engine, shlex.join(command), as_json, verbose)


@simulate.command("run")
def run(
    study: StudyFile,
    data: Data = None,
    out: Out = None,
    engine: Annotated[
        Engine,
        typer.Option(
            help="inprocess: all nodes in this one. ray: Flower's simulation engine. processes: each its own, over TLS."
        ),
    ] = Engine.inprocess,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Run a study from its TOML file: hospitals, readers, a federation, and what each hospital gets alone."""
    from .study import load_study

    more = [] if engine is Engine.inprocess else ["--engine", engine.value]
    command = typed("run", study, data, *more)
    _run(load_study(study_file(study)), data, out, engine, command, as_json, verbose)


def _run(
    study: Study, data: Path | None, out: Path | None, engine: Engine, command: str, as_json: bool, verbose: bool
) -> None:
    require_extra(*(["ray"] if engine is Engine.ray else []))
    folder = fresh_folder(study.name) if out is None else out
    from . import report
    from .console import console, next_steps, summary

    with watched(verbose) as progress:
        made, written = _result(study, data, folder, engine, command, progress, verbose)
    if as_json:
        sys.stdout.write(report.dump(made))
        return
    target = console(sys.stdout)
    summary(made.result, target)
    next_steps(_next_steps(made, written, study), target)


def _result(
    study: Study, data: Path | None, folder: Path, engine: Engine, command: str, progress: Progress, verbose: bool
) -> tuple[Report, Written]:
    from . import report
    from .progress import stage_of

    # Seconds of importing torch and flwr that would otherwise look like nothing.
    with stage_of(progress, "Load libraries"):
        from .run import run_study
    with kept_log(folder, verbose):
        result = run_study(study, data, folder, engine=engine.value, progress=progress)
        with stage_of(progress, "Write the report"):
            made = report.Report(result, command)
            written = report.write(made, folder)
    return made, written


def _next_steps(made: Report, written: Written, study: Study) -> list[tuple[str, str]]:
    """What to look at and what to type next, with commands and files that exist."""
    from .study import STUDIES, bundled

    steps = [
        ("Read the report in a browser", shown(written.html)),
        ("All its figures, for your own plots", shown(written.json)),
    ]
    if study.file != bundled("demo"):
        return steps
    steps.append(("The same hospitals with other chances", f"medquorum demo --seed {made.result.seed + 1}"))
    copied = f"cp {shlex.quote(shown(study.file))} study.toml"
    steps.append(("Your own study: copy this one, change it, run it", f"{copied} && medquorum simulate run study.toml"))
    steps += [
        (
            f"Real images: {path.stem}, in the folder that you name",
            f"medquorum simulate run {path.stem} --data FOLDER",
        )
        for path in sorted(STUDIES.glob("*.toml"))
        if path not in (study.file, bundled("mnist"))  # digits: for `simulate published`
    ]
    return steps


def _require_processes(study: Study, processes: int) -> None:
    """One process for each hospital and nothing else: a node is one hospital's."""
    from .terms import PhantomData

    hospitals = len(study.data.hospitals) if isinstance(study.data, PhantomData) else len(study.sites.names)
    if processes != hospitals:
        raise StudyError(
            f"the demo has {hospitals} hospitals, each with one node process, and {processes} were asked for",
            where="--processes",
            fix=f"give --processes {hospitals}",
        )
