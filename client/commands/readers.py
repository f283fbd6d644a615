"""`medquorum node reader …`: who may sign in to the review page on the hospital's LAN."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..accounts.roles import Role
from ..network.commands import AsJson, Folder, node

if TYPE_CHECKING:
    from ..accounts.administration import Administration

reader = typer.Typer(help="Accounts of the readers' page. Changes count at once, for a running node too.")
node.add_typer(reader, name="reader", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The reader's name, as it stands in the accounts.")]
InRole = Annotated[Role, typer.Option("--role", help="What they may do.")]


@reader.command()
def add(name: Name, folder: Folder, role: InRole = "reader") -> None:
    """Make an account and print the one-time code with which its reader begins."""
    with _accounts(folder) as accounts:
        _code(accounts.add(name, role, _me()), name)


@reader.command("list")
def listed(
    folder: Folder,
    as_json: AsJson = False,
) -> None:
    """List the accounts with their roles and open sessions."""
    with _accounts(folder) as accounts:
        found = accounts.all()
    if as_json:
        typer.echo(json.dumps({"accounts": [asdict(one) for one in found]}, ensure_ascii=False))
        return
    for one in found:
        last = (
            "never" if one.last_in is None else datetime.fromtimestamp(one.last_in, UTC).isoformat(timespec="minutes")
        )
        typer.echo(f"{one.name:24} {one.role:7} {one.standing:9} {one.sessions} sessions, last signed in {last}")
    if not found:
        typer.echo("No accounts yet. The first: medquorum node reader add NAME --role admin")


@reader.command()
def role(
    name: Name, role: Annotated[Role, typer.Argument(help="What they may do from now on.")], folder: Folder
) -> None:
    """Give a reader another role; their sessions end."""
    with _accounts(folder) as accounts:
        accounts.set_role(name, role, _me())
    typer.echo(f"{name} is a {role} now, and signs in again.")


@reader.command()
def password(name: Name, folder: Folder) -> None:
    """Take a reader's password away and print a one-time code for a new one, which only they will know."""
    with _accounts(folder) as accounts:
        _code(accounts.invite(name, _me()), name)


@reader.command()
def disable(name: Name, folder: Folder) -> None:
    """Shut a reader out, at once. What they said stays, under their name, which nobody else gets."""
    with _accounts(folder) as accounts:
        accounts.disable(name, _me())
    typer.echo(f"{name} is shut out; open sessions are over.")


@reader.command()
def enable(name: Name, folder: Folder) -> None:
    """Let a reader in again who was disabled."""
    with _accounts(folder) as accounts:
        accounts.enable(name, _me())
    typer.echo(f"{name} may sign in again.")


@reader.command("sign-out")
def sign_out(name: Name, folder: Folder) -> None:
    """Close every session of a reader, at once."""
    with _accounts(folder) as accounts:
        closed = accounts.sign_out(name, _me())
    typer.echo(f"{closed} sessions of {name} are over.")


@contextmanager
def _accounts(folder: Path) -> Generator[Administration]:
    from ..accounts.administration import Administration
    from ..accounts.book import Book
    from ..audit_log import AuditLog
    from ..keys import open_node_key

    trail = AuditLog(folder / "store", open_node_key(folder / "store"))
    book = Book(folder)
    try:
        yield Administration(book, trail)
    finally:
        book.close()


def _me() -> str:
    from ..audit_log import this_user

    return this_user()


def _code(code: str, name: str) -> None:
    typer.echo(f"Give {name} this code, and nobody else. It works once, within seven days:\n\n    {code}\n")
