"""Which passwords are taken, what is kept of them, and one-time codes."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY
from hypothesis import given
from hypothesis import strategies as st
from ward import CHEAP, PASSWORD

from medquorum.client.accounts import codes
from medquorum.client.accounts.account import LONGEST_NAME, folded, reader_name
from medquorum.client.accounts.errors import AccountError
from medquorum.client.accounts.passwords import LONGEST, SHORTEST, Hasher, require_good


@pytest.mark.parametrize(
    "password",
    [
        PASSWORD,
        "kvqxzjwmhbtrnpd",
        "五个互不相关的词语放在一起就够长了",
        "plain lower case words only",
        "📷🩻🦴🧠🫁🫀👁👂👃🦷🖐🦶🧬💉🌡",
        "x" * 30 + "quiet rivers turn",
    ],
)
def test_no_kind_of_character_is_demanded_or_refused(password: str) -> None:
    require_good(password, ("anna", "Riverside"))


@pytest.mark.parametrize(
    "password",
    [
        "",
        "Tr0ub4dor&3!aZ",
        "aaaaaaaaaaaaaaaaaaaa",
        "passwordpassword",
        "Password1234567890",
        "abcabcabcabcabcabc",
        "qwertyuiopasdfghjkl",
        "9876543210987654321",
        "Anna Riverside 2026!",
        "medquorum radiology",
        "correct horse battery staple",
        "x" * (LONGEST + 1),
    ],
)
def test_short_and_guessable_passwords_are_refused(password: str) -> None:
    with pytest.raises(AccountError):
        require_good(password, ("anna", "Riverside"))


@given(st.text(max_size=SHORTEST - 1))
def test_what_is_shorter_than_fifteen_is_never_taken(password: str) -> None:
    with pytest.raises(AccountError):
        require_good(password)


def test_what_is_kept_is_argon2id_with_the_second_parameters_of_rfc_9106() -> None:
    kept = Hasher().kept(PASSWORD)
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert extract_parameters(kept) == RFC_9106_LOW_MEMORY
    assert PASSWORD not in kept
    assert Hasher().right(kept, PASSWORD)
    assert not Hasher().right(kept, PASSWORD + " ")


def test_every_character_counts_and_every_keyboard_types_the_same() -> None:
    hasher = Hasher(CHEAP)
    long = "é" + "quiet lanterns " * 15
    kept = hasher.kept(long)
    assert not hasher.right(kept, long[:-1])
    assert hasher.right(kept, "e\u0301" + long[1:])


def test_an_unknown_name_costs_a_check_like_every_other(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher, checked = Hasher(CHEAP), list[str]()
    hasher.prepare()
    verify = PasswordHasher.verify
    monkeypatch.setattr(
        PasswordHasher, "verify", lambda self, kept, password: checked.append(kept) or verify(self, kept, password)
    )
    kept = hasher.kept(PASSWORD)
    assert not hasher.right(None, PASSWORD)
    assert not hasher.right(kept, "another")
    parameters = [extract_parameters(one) for one in checked]
    assert len(parameters) == 2
    assert parameters[0] == parameters[1]


def test_a_password_kept_under_other_parameters_is_outdated() -> None:
    assert Hasher().outdated(CHEAP.hash(PASSWORD))
    assert not Hasher(CHEAP).outdated(CHEAP.hash(PASSWORD))


def test_a_code_is_known_however_it_is_typed_and_no_other() -> None:
    code = codes.new_code()
    kept = codes.kept(code)
    typed = code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert codes.right(kept, typed)
    assert not codes.right(kept, codes.new_code())
    assert not codes.right(None, code)
    assert not codes.right(None, "")
    assert len(code.replace("-", "")) == 20


@pytest.mark.parametrize("name", ["anna", "Dr. Anna-Lena O'Hara", "张伟", "a.b@hospital.example", "Žofie_2"])
def test_names_of_people_are_names(name: str) -> None:
    assert reader_name(f"  {name} ") == name


@pytest.mark.parametrize(
    "name", ["", " ", "<b>anna</b>", "a" * (LONGEST_NAME + 1), "-anna", "an\u202ena", "a;b", "x\x00", '"', "a/b"]
)
def test_other_things_are_no_names(name: str) -> None:
    with pytest.raises(AccountError):
        reader_name(name)


def test_names_that_look_alike_in_case_or_width_are_one() -> None:
    assert folded("Anna") == folded("ANNA") == folded("Ａｎｎａ")
