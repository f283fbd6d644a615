"""The root of the error tree: what was wrong, where, and what to do about it.

Every package derives its own base from `MedquorumError`; the command line prints one of these as a single line and
never shows a traceback for it unless `--verbose` asks.
"""

from __future__ import annotations


class MedquorumError(Exception):
    """A failure that its user can understand and act upon.

    `what` names the fault in one clause, `where` the file, key, site or step it was met at (may be empty),
    `fix` the next thing to do. `exit_code` is the process's exit status when it ends a command. `number`, where an
    error has one, leads to its paragraph in docs/errors.md.
    """

    exit_code: int = 1
    number: str = ""

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(what, where, fix)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f" Fix: {self.fix}" if self.fix else ""
        end = "" if self.what.endswith((".", "?", "!")) else "."
        page = f" ({self.number}, see docs/errors.md)" if self.number else ""
        return f"{place}{self.what}{end}{remedy}{page}"


class BadInputError(MedquorumError):
    """What the user gave (a file, a key, an option) cannot be used as it is."""

    exit_code = 2


class RefusedError(MedquorumError):
    """A rule of the site, of the plan or of the privacy ledger forbids what was asked."""

    exit_code = 3
