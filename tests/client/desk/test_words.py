"""The table of words: the same keys and blanks in every language, all of them in use and none missing."""

from __future__ import annotations

import json
import re

import pytest

from medquorum.client.desk.pages import PAGES, page

TABLE: dict[str, dict[str, str]] = json.loads((PAGES / "words.json").read_text(encoding="utf-8"))
SENT = {file.name: page(file.stem) for file in PAGES.glob("*.html") if file.name != "frame.html"}
SOURCES = "\n".join([*SENT.values(), *(file.read_text(encoding="utf-8") for file in PAGES.glob("*.js"))])
# Words whose keys are put together while the page runs.
MADE = re.compile(
    r"(side|account|role|standing|language|order|status|rule|key_preset|withheld|disputes|key_take|lacks|outcome|why|measure|hidden)_\w+"
    r"|present|absent|uncertain|not_assessed"
)


def test_every_language_has_the_same_keys() -> None:
    assert set(TABLE) == {"en", "zh"}
    assert TABLE["en"].keys() == TABLE["zh"].keys()


@pytest.mark.parametrize("key", sorted(TABLE["en"]))
def test_every_language_fills_the_same_blanks(key: str) -> None:
    blanks = {language: sorted(re.findall(r"\{(\w+)\}", words[key])) for language, words in TABLE.items()}
    assert blanks["en"] == blanks["zh"]
    assert all(words[key].strip() for words in TABLE.values())


def test_every_word_is_used() -> None:
    used = set(re.findall(r'["\'`](\w+)["\'`]', SOURCES))
    assert sorted(key for key in TABLE["en"] if key not in used and not MADE.fullmatch(key)) == []


def test_every_word_that_is_asked_for_is_there() -> None:
    asked = set(re.findall(r'\bt\("(\w+)"', SOURCES)) | set(re.findall(r'word: "(\w+)"', SOURCES))
    asked |= set(re.findall(r'data-w(?:-label)?="(\w+)"', SOURCES))
    assert sorted(asked - TABLE["en"].keys()) == []


def test_pages_hold_no_inline_script_or_style() -> None:
    for name, text in SENT.items():
        assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|\son\w+=|<style", text), name
        assert not re.findall(r"https?://", text), name
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", SOURCES)


def test_every_page_says_what_it_is_not() -> None:
    for name, text in SENT.items():
        assert 'data-w="research_use"' in text or TABLE["en"]["research_use"] in text, name


def test_modules_stay_short() -> None:
    for file in (one for one in PAGES.iterdir() if one.is_file()):
        assert file.suffix == ".json" or len(file.read_text(encoding="utf-8").splitlines()) < 400, file.name
