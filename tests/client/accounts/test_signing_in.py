"""Signing in: slow for who guesses, never closed to who belongs here; sessions that end when they should."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from ward import CHEAP, PASSWORD, Ward, ward

from medquorum.client.accounts.book import FILE
from medquorum.client.accounts.delays import LONGEST
from medquorum.client.accounts.errors import AccountError, SignInError, SlowDownError
from medquorum.client.accounts.passwords import Hasher
from medquorum.client.accounts.sessions import IDLE, LIFETIME
from medquorum.client.accounts.signing_in import SigningIn

OTHER = "harbour bridges hum at noon"


@pytest.fixture
def here(tmp_path: Path) -> Generator[Ward]:
    with ward(tmp_path) as made:
        made.reader("anna")
        made.reader("bert", "admin")
        yield made


def refused(here: Ward, name: str = "anna", address: str = "10.0.0.9", browser: str = "") -> SignInError:
    with pytest.raises(SignInError) as found:
        here.signing_in.by_password(name, "not the right password", address, browser)
    return found.value


def test_who_knows_the_password_is_let_in(here: Ward) -> None:
    admission = here.signing_in.by_password(" ANNA ", PASSWORD, "10.0.0.9", "")
    assert (admission.name, admission.role) == ("anna", "reader")
    session = here.signing_in.session(admission.secret)
    assert session is not None
    assert session.name == "anna"
    assert here.signing_in.session(admission.secret + "x") is None
    assert here.signing_in.session("") is None


def test_guesses_at_one_account_are_slowed_from_wherever_they_come(here: Ward) -> None:
    for number in range(5):
        assert not isinstance(refused(here, address=f"10.0.1.{number}"), SlowDownError)
    waits = [1]
    for number in range(12):
        here.clock.now += waits[-1]
        refused(here, address=f"10.0.2.{number}")
        slowed = refused(here, address=f"10.0.3.{number}")
        assert isinstance(slowed, SlowDownError)
        waits.append(slowed.seconds)
    assert waits[:5] == [1, 2, 4, 8, 16]
    assert waits[-1] == LONGEST


def test_guesses_from_one_address_are_slowed_whatever_the_account(here: Ward) -> None:
    for number in range(20):
        assert not isinstance(refused(here, f"nobody{number}"), SlowDownError)
    here.clock.now += 0.5
    refused_at_once = refused(here, "somebody else")
    assert isinstance(refused_at_once, SlowDownError)
    assert not isinstance(refused(here, "nobody21", "10.0.0.10"), SlowDownError)


def test_one_machine_s_ipv6_addresses_are_one(here: Ward) -> None:
    for number in range(20):
        refused(here, f"nobody{number}", f"fd00::{number:x}")
    assert isinstance(refused(here, "nobody", "fd00::ffff"), SlowDownError)
    assert not isinstance(refused(here, "nobody", "fd00:0:0:1::1"), SlowDownError)


def test_the_wait_outlasts_the_process(here: Ward) -> None:
    for _ in range(6):
        refused(here)
    again = SigningIn(here.book, here.noted, hasher=Hasher(CHEAP), clock=here.clock)
    with pytest.raises(SlowDownError):
        again.by_password("anna", PASSWORD, "10.0.0.9", "")


def test_an_attempt_during_the_wait_is_not_looked_at_and_does_not_lengthen_it(here: Ward) -> None:
    for _ in range(6):
        refused(here)
    for _ in range(50):
        assert isinstance(refused(here), SlowDownError)
    here.clock.now += 2.0
    assert here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "").name == "anna"


def test_nobody_is_kept_out_of_a_browser_they_signed_in_from_before(here: Ward) -> None:
    known = here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "").browser
    for number in range(200):
        refused(here, address="10.0.0.9" if number % 2 else f"10.1.0.{number}")
        here.clock.now += LONGEST / 7
    with pytest.raises(SlowDownError):
        here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "")
    assert here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", known).browser == known


def test_a_known_browser_is_slowed_as_well_and_known_for_its_own_readers_only(here: Ward) -> None:
    known = here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "").browser
    for _ in range(5):
        assert not isinstance(refused(here, browser=known), SlowDownError)
    refused(here, browser=known)
    assert isinstance(refused(here, browser=known), SlowDownError)
    for number in range(6):
        refused(here, "bert", f"10.2.0.{number}")
    assert isinstance(refused(here, "bert", "10.2.1.1", known), SlowDownError)


def test_a_shared_workstation_knows_both_its_readers(here: Ward) -> None:
    first = here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "").browser
    second = here.signing_in.by_password("bert", PASSWORD, "10.0.0.9", first).browser
    assert first == second


def test_many_attempts_at_once_are_no_way_round(here: Ward) -> None:
    outcomes: list[type[Exception]] = []

    def attempt() -> None:
        try:
            here.signing_in.by_password("anna", "not the right password", "10.0.0.9", "")
        except SignInError as fault:
            outcomes.append(type(fault))

    threads = [threading.Thread(target=attempt) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(SignInError) == 5
    assert outcomes.count(SlowDownError) == 25


def test_nobody_learns_which_names_there_are(here: Ward) -> None:
    here.accounts.add("invited", "reader", "it")
    here.accounts.add("shut out", "reader", "it")
    here.accounts.disable("shut out", "it")
    said = {
        str(refused(here, name, f"10.3.0.{at}")) for at, name in enumerate(("anna", "nobody", "invited", "shut out"))
    }
    assert len(said) == 1
    for at, name in enumerate(("anna", "nobody at all")):
        for number in range(6):
            refused(here, name, f"10.4.{at}.{number}")
    slowed = {str(refused(here, name, "10.5.0.1")) for name in ("anna", "nobody at all")}
    assert len(slowed) == 1


def test_what_is_typed_as_a_name_is_kept_nowhere(here: Ward) -> None:
    refused(here, "my password in the wrong field")
    assert b"wrong field" not in (here.folder / FILE).read_bytes()
    assert here.noted.of("sign_in")[-1] == ("?", {"step": "failed", "by": "password"})


def test_a_code_works_once_and_not_for_ever(here: Ward) -> None:
    code = here.accounts.add("cleo", "reader", "it")
    with pytest.raises(AccountError):
        here.signing_in.by_code("cleo", code, "too short", "10.0.0.9", "")
    assert here.signing_in.by_code("cleo", code, PASSWORD, "10.0.0.9", "").name == "cleo"
    with pytest.raises(SignInError):
        here.signing_in.by_code("cleo", code, OTHER, "10.0.0.9", "")
    late = here.accounts.add("dora", "reader", "it")
    here.clock.now += 8 * 86400.0
    with pytest.raises(SignInError):
        here.signing_in.by_code("dora", late, PASSWORD, "10.0.0.9", "")
    assert {one.name: one.standing for one in here.accounts.all()}["dora"] == "expired"


def test_codes_are_guessed_as_slowly_as_passwords(here: Ward) -> None:
    here.accounts.add("cleo", "reader", "it")
    for number in range(5):
        with pytest.raises(SignInError, match="code is not right"):
            here.signing_in.by_code("cleo", "0" * 20, PASSWORD, f"10.6.0.{number}", "")
    with pytest.raises(SlowDownError):
        here.signing_in.by_code("cleo", "0" * 20, PASSWORD, "10.6.1.1", "")


def test_a_password_kept_under_other_parameters_is_kept_anew(here: Ward) -> None:
    dearer = Hasher(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    later = SigningIn(here.book, here.noted, hasher=dearer, clock=here.clock)
    later.by_password("anna", PASSWORD, "10.0.0.9", "")
    with here.book.reading() as database:
        kept = database.execute("SELECT password FROM account WHERE folded = 'anna'").fetchone()[0]
    assert not dearer.outdated(kept)
    assert later.by_password("anna", PASSWORD, "10.0.0.9", "").name == "anna"


def test_sessions_end_after_rest_and_after_half_a_day_whatever_is_done(here: Ward) -> None:
    secret = here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "").secret
    here.clock.now += IDLE - 1.0
    assert here.signing_in.session(secret) is not None
    here.clock.now += IDLE - 1.0
    assert here.signing_in.session(secret) is not None, "the use before was noted"
    here.clock.now += IDLE + 1.0
    assert here.signing_in.session(secret) is None
    secret = here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "").secret
    for _ in range(int(LIFETIME / IDLE) * 2):
        assert here.signing_in.session(secret) is not None
        here.clock.now += IDLE / 2
    assert here.signing_in.session(secret) is None


def test_another_password_ends_every_session_and_begins_one(here: Ward) -> None:
    first, second = (here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "").secret for _ in range(2))
    with pytest.raises(SignInError, match="present password"):
        here.signing_in.change_password(first, OTHER, OTHER, "")
    with pytest.raises(AccountError):
        here.signing_in.change_password(first, PASSWORD, "anna anna anna anna", "")
    third = here.signing_in.change_password(first, PASSWORD, OTHER, "").secret
    assert [here.signing_in.session(one) is None for one in (first, second, third)] == [True, True, False]
    assert here.signing_in.by_password("anna", OTHER, "10.0.0.9", "").name == "anna"
    with pytest.raises(SignInError):
        here.signing_in.change_password(first, OTHER, PASSWORD, "")


def test_secrets_are_kept_as_hashes_in_a_file_of_its_user_s_alone(here: Ward) -> None:
    admission = here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "")
    code = here.accounts.add("cleo", "reader", "it")
    stored = (here.folder / FILE).read_bytes()
    assert (here.folder / FILE).stat().st_mode & 0o777 == 0o600
    for secret in (admission.secret, admission.browser, PASSWORD, code, code.replace("-", "")):
        assert secret.encode() not in stored


def test_each_sign_in_is_noted_and_what_cannot_be_noted_is_not_done(
    here: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission = here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "")
    here.signing_in.end(admission.secret)
    refused(here)
    steps = [(who, what["step"]) for who, what in here.noted.of("sign_in")][-3:]
    assert steps == [("anna", "in"), ("anna", "out"), ("anna", "failed")]

    def full(*_: object, **__: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(here.noted, "append", full)
    before = here.accounts.all()
    with pytest.raises(Exception, match="no room"):
        here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "")
    with pytest.raises(Exception, match="no room"):
        here.accounts.disable("anna", "it")
    assert here.accounts.all() == before


def test_who_a_provider_vouches_for_is_let_in_under_a_name_of_their_own(here: Ward) -> None:
    here.signing_in = SigningIn(here.book, here.noted, provider=True, hasher=Hasher(CHEAP), clock=here.clock)
    secret = here.signing_in.by_provider("https://idp|1", "Cleo", "reader").secret
    again = here.signing_in.by_provider("https://idp|1", "Cleo Married", "lead")
    assert (again.name, again.role) == ("Cleo", "lead")
    assert here.signing_in.session(secret) is None, "another role ends the sessions"
    with pytest.raises(SignInError, match="another account"):
        here.signing_in.by_provider("https://idp|2", "ANNA", "admin")
    with pytest.raises(AccountError):
        here.signing_in.by_provider("https://idp|3", "<script>", "reader")
    here.accounts.disable("Cleo", "it")
    assert here.signing_in.session(again.secret) is None
    with pytest.raises(SignInError, match="disabled"):
        here.signing_in.by_provider("https://idp|1", "Cleo", "lead")


def test_passwords_open_nothing_where_the_provider_does(here: Ward) -> None:
    secret = here.signing_in.by_password("anna", PASSWORD, "10.0.0.9", "").secret
    provided = SigningIn(here.book, here.noted, provider=True, hasher=Hasher(CHEAP), clock=here.clock)
    assert provided.session(secret) is None
    other = provided.by_provider("https://idp|1", "Cleo", "reader").secret
    assert here.signing_in.session(other) is None
    with pytest.raises(SignInError):
        here.signing_in.by_password("Cleo", PASSWORD, "10.0.0.9", "")
