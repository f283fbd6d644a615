"""`medquorum coordinator …`: what a consortium's operator types."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ...models.checkpoint import Release
    from ...privacy.plan import Plan
    from .consortium import Consortium
    from .requests import Request

coordinator = typer.Typer(help="Run a consortium's coordinator.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else, on stdout.")]
Folder = Annotated[Path, typer.Option("--folder", help="The coordinator's folder.", envvar="MEDQUORUM_COORDINATOR")]


@coordinator.command()
def init(
    consortium: Annotated[str, typer.Argument(help="The consortium's name.")],
    folder: Folder,
) -> None:
    """Lay out a coordinator: its consortium, its identity and the authority, which hospitals will pin."""
    from ...privacy.certificates import fingerprint, make_authority
    from ...privacy.identity import fingerprint as words
    from .consortium import Consortium

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    created = Consortium.create(folder, consortium)
    authority = make_authority(folder, consortium)
    typer.echo(f"Consortium {consortium} in {folder}. Send {authority} to the hospitals; its fingerprint, to be")
    typer.echo(f"compared by telephone, is SHA-256\n\n    {fingerprint(authority)}\n")
    typer.echo("Its own identity signs the plans. The six words that every hospital compares when it enrols:\n")
    typer.echo(f"    {' '.join(words(created.key))}\n")
    typer.echo(f"Next: medquorum coordinator serve --folder {folder} --name HOST")


@coordinator.command()
def serve(
    folder: Folder,
    name: Annotated[list[str], typer.Option(help="A host name or address that hospitals connect to; repeatable.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",
    port: Annotated[int, typer.Option(help="Port to listen on: the only one that is open to others.")] = 8443,
) -> None:
    """Serve the consortium until stopped by a signal."""
    from .service import Address, Service

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    service = Service(folder, Address(host, port, tuple(name)))
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: service.stop())
    service.run()


@coordinator.command()
def plan(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN.toml", help="The plan file.", show_default=False)],
    folder: Folder,
    as_json: AsJson = False,
) -> None:
    """Say what a plan would promise every site's patients. Nothing is sent."""
    from ...privacy.guarantee import guarantee, lines
    from ..plan_file import load_plan
    from .consortium import Consortium

    read, _ = load_plan(plan_file, Consortium(folder).name)
    promised = guarantee(read)
    if as_json:
        _print(promised.document())
        return
    typer.echo(f"{read.name}: {read.rounds} rounds over {promised.sites} sites, quorum {promised.quorum}.")
    for line in lines(promised):
        typer.echo(line)


@coordinator.command()
def train(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN.toml", help="The plan file.", show_default=False)],
    folder: Folder,
    run: Annotated[str, typer.Option(help="The run's name; the default is the plan file's.")] = "",
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for sites that are not connected.")] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Carry out a plan by the running service and follow it; the same command again goes on, or shows the result."""
    from ..plan_file import load_plan
    from .consortium import Consortium
    from .errors import RunStoppedError
    from .following import follow
    from .journal import Reader

    consortium = Consortium(folder)
    plan, release = load_plan(plan_file, consortium.name)
    _require_members(consortium, plan, plan_file)
    request = _asked(folder, run or plan_file.stem, plan, release, plan_file, wait)
    journal = Reader(request.folder)
    try:
        with _progress(plan.rounds) as (say, advance):
            done = follow(folder, request, journal, say, advance)
    except KeyboardInterrupt:
        typer.echo(f"The run goes on without you: medquorum coordinator status --folder {folder}", err=True)
        raise
    if as_json:
        _print(done.document())
    if done.request.state == "stopped":
        raise RunStoppedError(f"the run stopped: {done.request.detail}", where=str(done.request.folder))
    if not as_json:
        typer.echo(f"Finished {len(done.rounds)} rounds. {done.gated or f'The release: {done.release}'}")


@coordinator.command()
def status(folder: Folder, as_json: AsJson = False) -> None:
    """Say whether the service runs, and how every run stands."""
    from .following import standing
    from .requests import requests
    from .serving import is_served

    runs = [standing(request) for request in requests(folder)]
    if as_json:
        _print({"serving": is_served(folder), "runs": [one.document() for one in runs]})
        return
    typer.echo(f"The service {'runs' if is_served(folder) else 'does not run'}.")
    for one in runs:
        typer.echo(f"{one.request.name:24} {one.request.state:10} {len(one.rounds)} of {one.plan.rounds} rounds")
        if one.request.detail:
            typer.echo(f"    {one.request.detail}")
        if one.gated or one.release is not None:
            typer.echo(f"    {one.gated or one.release}")


@coordinator.command()
def sites(folder: Folder) -> None:
    """List the sites that asked to join, with their six words and how they stand."""
    from .consortium import Consortium

    for site, record in Consortium(folder).records().items():
        state = "revoked" if record.revoked else "approved" if record.approved else "waiting for approval"
        typer.echo(f"{site:20} {record.words:42} {state}")


@coordinator.command()
def approve(
    site: Annotated[str, typer.Argument(help="The site.")],
    folder: Folder,
    words: Annotated[str, typer.Option(help="The six words that its admin read out; asked for when absent.")] = "",
) -> None:
    """Approve a site whose admin read out the six words of its key."""
    from .consortium import Consortium

    spoken = words or typer.prompt(f"The six words that {site}'s admin reads out")
    Consortium(folder).approve(site, spoken)
    typer.echo(f"{site} is approved; its node is admitted as soon as the coordinator serves.")


@coordinator.command()
def revoke(site: Annotated[str, typer.Argument(help="The site.")], folder: Folder) -> None:
    """Shut a site out. Its node is refused from the next message on."""
    from .consortium import Consortium

    Consortium(folder).revoke(site)
    typer.echo(f"{site} is revoked.")


def _asked(folder: Path, name: str, plan: Plan, release: Release, plan_file: Path, wait: float) -> Request:
    """The run's request, made now unless it is under way or over already."""
    from ..errors import RunError
    from ..run_folder import Settings
    from .errors import PlanChangedError
    from .requests import ask_for, find

    known = find(folder, name)
    settings = Settings(aggregation="secure", gather_seconds=wait, step_seconds=3600.0, attempts=3, wait_seconds=5.0)
    try:
        if known is not None and known.state in ("running", "finished"):
            known.require(plan)
            return known
        return ask_for(folder, name, plan, release, settings)
    except RunError as fault:
        raise PlanChangedError(
            f"{fault.what} (run {name!r})",
            where=str(plan_file),
            fix="give the new plan a run of its own with --run NAME, or restore the plan file",
        ) from None


def _require_members(consortium: Consortium, plan: Plan, plan_file: Path) -> None:
    """Name the plan's sites that are not approved; refuse the plan when the others are no quorum."""
    from ..errors import PlanFileError

    records = consortium.records()
    absent = {
        site.name: "has not asked to join" if site.name not in records else "is not approved"
        for site in plan.sites
        if site.name not in records or not records[site.name].approved
    }
    for name, why in absent.items():
        typer.echo(f"{name} {why}", err=True)
    if len(plan.sites) - len(absent) < plan.quorum:
        raise PlanFileError(
            f"of its {len(plan.sites)} sites {', '.join(absent)} are not approved members, and the others are fewer "
            f"than the quorum of {plan.quorum}",
            where=f"{plan_file}, sites",
            fix="compare the names with medquorum coordinator sites, and approve who is waiting",
        )


def _print(document: dict[str, object]) -> None:
    import json

    typer.echo(json.dumps(document, indent=1))


@contextmanager
def _progress(rounds: int) -> Generator[tuple[Callable[[str], None], Callable[[int], None]]]:
    """Sentences and a bar on standard error; sentences alone where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    target = Console(file=sys.stderr)

    def say(sentence: str) -> None:
        target.print(sentence, markup=False, highlight=False, soft_wrap=True)

    if not target.is_terminal:
        yield say, lambda done: None
        return
    columns = TextColumn("rounds"), BarColumn(bar_width=28), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=target, transient=True) as bars:
        task = bars.add_task("rounds", total=rounds)
        yield say, lambda done: bars.update(task, completed=done)
