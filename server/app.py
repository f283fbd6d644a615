"""The coordinator as a Flower ServerApp: its own loop over Flower's Grid, reading a prepared run's folder.

The same app runs in process, in Flower's simulation engine, and under a SuperLink, which finds it as
`medquorum.server.app:app`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from .aggregation import PLAIN, CoordinatorSide
from .courier import Courier, Post
from .errors import RunError
from .outcome import Outcome
from .progress import Watcher, silent
from .rounds import Rounds
from .run_folder import RunFolder
from .trust import CoordinatorTrust

RUN_FOLDER = "run-folder"


def coordinate(
    grid: Post,
    folder: Path,
    sides: Mapping[str, CoordinatorSide] = PLAIN,
    watch: Watcher = silent,
    trust: CoordinatorTrust | None = None,
) -> Outcome:
    """Carry out (or go on with) the run prepared in `folder` over `grid`, and return what came of it.

    sides: the coordinator's sides of aggregation by name; the run's settings choose one. trust: signs the plan and
    checks the sites' words on it; None in simulation, where nodes ask for no signature. Raises RunError, BusyError
    and QuorumError, as `Rounds.run` says.
    """
    with RunFolder.open(folder) as run:
        side = sides.get(run.settings.aggregation)
        if side is None:
            raise RunError(
                f"aggregation {run.settings.aggregation!r} is not known here",
                where=str(folder),
                fix=f"choose one of {sorted(sides)}",
            )
        return Rounds(Courier(grid), run, side, watch, trust).run()


def server_app(
    sides: Mapping[str, CoordinatorSide] = PLAIN,
    watch: Watcher = silent,
    done: Callable[[Outcome], None] | None = None,
) -> ServerApp:
    """A ServerApp that coordinates the run whose folder the run's configuration names under "run-folder"."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:  # pyright: ignore[reportUnusedFunction]  the decorator keeps it
        folder = context.run_config.get(RUN_FOLDER)
        if not isinstance(folder, str):
            raise RunError("the run's configuration names no folder", where=RUN_FOLDER, fix="give the run's folder")
        outcome = coordinate(grid, Path(folder), sides, watch)
        if done is not None:
            done(outcome)

    return app


app = server_app()
