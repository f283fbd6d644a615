"""What admins and commands do with accounts, and what they cannot."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from ward import PASSWORD, Ward, ward

from medquorum.client.accounts.administration import Administration
from medquorum.client.accounts.book import FILE, Book
from medquorum.client.accounts.errors import AccountError, AccountRefusedError, SignInError
from medquorum.client.errors import NodeError


@pytest.fixture
def here(tmp_path: Path) -> Generator[Ward]:
    with ward(tmp_path) as made:
        made.reader("anna")
        made.reader("bert", "admin")
        yield made


def test_an_account_says_how_it_stands(here: Ward) -> None:
    here.accounts.add("cleo", "lead", "bert")
    here.accounts.disable("anna", "bert")
    here.signing_in.by_password("bert", PASSWORD, "10.0.0.9", "")
    found = {one.name: (one.role, one.standing, one.sessions) for one in here.accounts.all()}
    assert found == {
        "anna": ("reader", "disabled", 0),
        "bert": ("admin", "active", 2),
        "cleo": ("lead", "invited", 0),
    }
    here.accounts.enable("anna", "bert")
    assert here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "").name == "anna"


CHANGES: dict[str, Callable[[Administration], object]] = {
    "role": lambda accounts: accounts.set_role("anna", "lead", "it"),
    "disable": lambda accounts: accounts.disable("anna", "it"),
    "code": lambda accounts: accounts.invite("anna", "it"),
    "sign_out": lambda accounts: accounts.sign_out("anna", "it"),
}


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_what_changes_an_account_ends_its_sessions_at_once(here: Ward, what: str) -> None:
    secrets = [here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "").secret for _ in range(2)]
    other = here.signing_in.by_password("bert", PASSWORD, "10.0.0.9", "").secret
    beside = Book(here.folder)  # another process, as a command is
    CHANGES[what](Administration(beside, here.noted, here.clock))
    beside.close()
    assert [here.signing_in.session(one) for one in secrets] == [None, None]
    assert here.signing_in.session(other) is not None
    assert here.noted.of("account")[-1][1]["step"] == what


def test_a_new_code_takes_the_password_away(here: Ward) -> None:
    code = here.accounts.invite("anna", "bert")
    with pytest.raises(SignInError):
        here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "")
    here.signing_in.by_code("anna", code, "harbour bridges hum at noon", "10.0.0.9", "")


@pytest.mark.parametrize("name", ["anna", "ANNA", "Ａnna", " anna "])
def test_a_name_is_given_once(here: Ward, name: str) -> None:
    here.accounts.disable("anna", "bert")
    with pytest.raises(AccountError, match="already"):
        here.accounts.add(name, "reader", "bert")


def test_the_last_admin_stays(here: Ward) -> None:
    here.accounts.add("cleo", "admin", "bert")
    for change in (
        lambda: here.accounts.disable("bert", "bert"),
        lambda: here.accounts.set_role("bert", "reader", "bert"),
    ):
        with pytest.raises(AccountRefusedError, match="last admin"):
            change()
    here.accounts.set_role("cleo", "reader", "bert")
    here.accounts.set_role("anna", "admin", "bert")
    here.accounts.disable("bert", "anna")
    with pytest.raises(AccountRefusedError, match="last admin"):
        here.accounts.set_role("anna", "lead", "anna")


def test_an_account_that_is_not_there_is_said_so(here: Ward) -> None:
    for change in CHANGES.values():
        with pytest.raises(AccountError, match="no such account"):
            change(_Renamed(here.accounts))


class _Renamed:
    """The same accounts asked about nobody."""

    def __init__(self, accounts: Administration) -> None:
        self._accounts = accounts

    def __getattr__(self, name: str) -> Callable[..., object]:
        return lambda _, *rest: getattr(self._accounts, name)("nobody", *rest)


def test_who_comes_from_a_provider_is_kept_there(here: Ward) -> None:
    here.signing_in.by_provider("https://idp|1", "Cleo", "reader")
    with pytest.raises(AccountRefusedError):
        here.accounts.set_role("cleo", "admin", "bert")
    with pytest.raises(AccountRefusedError):
        here.accounts.invite("cleo", "bert")


def test_a_file_that_is_none_of_ours_is_said_so(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to look at")
    with pytest.raises(NodeError, match="cannot be read"):
        Book(tmp_path)
