"""The command `medquorum`: what every command shares, which is its errors and its exit status.

A user's own mistake is one line on standard error, never a traceback; docs/report.md lists the exit codes.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Annotated

import click
import typer

from . import __version__
from .client.commands import node
from .errors import MedquorumError
from .server.network.commands import coordinator
from .simulations.commands import demo, simulate

EXIT_FAILURE, EXIT_BAD_INPUT, EXIT_REFUSED, EXIT_INTERRUPTED = 1, 2, 3, 130
# The machine's faults rather than ours: said in the system's own words.
_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.EIO})

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A federated, privacy-preserving annotation network for medical images. Research use, not a medical device.",
    epilog=(
        f"Exit codes: 0 done, {EXIT_FAILURE} failure, {EXIT_BAD_INPUT} bad input, "
        f"{EXIT_REFUSED} refused by a rule (of a site, a plan or a privacy ledger), {EXIT_INTERRUPTED} interrupted."
    ),
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"medquorum {__version__}")
        raise typer.Exit


@app.callback()
def _root(  # pyright: ignore[reportUnusedFunction]  # typer calls it
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command("demo")(demo)
app.add_typer(simulate, name="simulate")
app.add_typer(node, name="node")
app.add_typer(coordinator, name="coordinator")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments` (default: the process's) and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    verbose = "--verbose" in given
    try:
        status = app(args=given, prog_name="medquorum", standalone_mode=False)
    except MedquorumError as error:
        if verbose:
            traceback.print_exc()
        return _fail(str(error), error.exit_code)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "medquorum"
        # Plain `medquorum` is a question; click answers it with the help, and still calls it a mistake.
        if isinstance(error, click.exceptions.NoArgsIsHelpError):
            typer.echo(error.format_message())
            return EXIT_BAD_INPUT
        return _fail(f"{error.format_message()} Fix: see {command} --help", EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except OSError as error:
        if error.errno not in _MACHINE:
            return _our_fault(verbose)
        if verbose:
            traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror}. Fix: give space and rights there, or another --out", EXIT_FAILURE)
    except Exception:
        return _our_fault(verbose)
    # typer turns an interrupt during a command into this status, without a word.
    if status == EXIT_INTERRUPTED:
        return _fail("interrupted", EXIT_INTERRUPTED)
    return status if isinstance(status, int) else 0


def _fail(line: str, status: int) -> int:
    typer.echo(f"error: {' '.join(line.split())}", err=True)
    return status


def _our_fault(verbose: bool) -> int:
    """An error that no rule foresaw: its traceback goes to a file that only this user can read."""
    kind = sys.exc_info()[0]
    name = kind.__name__ if kind else "error"
    if verbose:
        traceback.print_exc()
        return _fail(f"unexpected {name}. This is a fault in medquorum, not yours: please report it", EXIT_FAILURE)
    handle, path = tempfile.mkstemp(prefix="medquorum-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as log:
        log.write(traceback.format_exc())
    return _fail(
        f"unexpected {name}. This is a fault in medquorum, not yours. Fix: report it with {path} "
        "(look through it first: it may name files), or run again with --verbose",
        EXIT_FAILURE,
    )
