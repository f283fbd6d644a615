"""A reader's morning: two readers and a lead read by keyboard in real browsers, over a real node that is killed twice,
and what they settled, and only that, is trained on."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from browsers import chromium, watched
from coordinating import ask, invite, model, vector
from hospitals import OPEN_POLICY, RIGHTS, make_plan
from morning import (
    EVIL,
    HIDDEN,
    STUDIES,
    Served,
    at_study,
    command,
    drag,
    lay_out,
    open_worklist,
    press,
    saved,
    sign_in,
)
from playwright.sync_api import Browser, BrowserContext, expect

from medquorum.client.annotations import Annotation, Box
from medquorum.client.desk.timeline import replay
from medquorum.client.entering import UnreadError
from medquorum.client.node import Node
from medquorum.client.settling import Settled
from medquorum.client.store import Store
from medquorum.privacy.messages import Step

pytestmark = pytest.mark.slow

DISPUTED = (1, 7, 15)
ASIDE = 19  # neither reader can say anything of it
# What anna says against the model, or where it says nothing.
BY_HAND = {3: "present", HIDDEN: "absent", 5: "uncertain", 6: "present", 7: "absent", 8: "present", 9: "absent"}
KEYS = {"present": "y", "absent": "n", "uncertain": "u"}


@pytest.fixture
def served(tmp_path: Path) -> Generator[Served, None, None]:
    """The node's page on the LAN."""
    lay_out(tmp_path / "node")
    running = Served(tmp_path / "node")
    running.start()
    try:
        yield running
    finally:
        running.stop()


def window(browser: Browser) -> BrowserContext:
    """A browser of somebody's own, which was told to trust the node's authority."""
    return browser.new_context(locale="en-GB", viewport={"width": 1300, "height": 850}, ignore_https_errors=True)


@pytest.mark.timeout(900)  # a minute of it is offline, and six processes start one after another
def test_a_reader_s_morning(served: Served, browser: Browser) -> None:
    anna_s_morning(served, browser)
    said = said_by(served, "anna")
    first = sum(one.actions for one in said)
    bert_s_morning(served, browser, [dict(one.states)["nodule"] for one in _last(said)])
    assert served.stop() == 0
    check_before(served.folder)
    served.start()
    eve_s_morning(served, browser)
    assert served.stop() == 0
    check_anna(served.folder)
    check_training(served.folder)
    sys.stdout.write(f"anna: {first} keys and clicks for {STUDIES} studies, with everything that happened\n")


def anna_s_morning(served: Served, browser: Browser) -> None:
    """Twenty studies by keyboard, through everything that can happen."""
    context = window(browser)
    page = context.new_page()
    seen = watched(page, served.base)
    sign_in(page, served, "anna", "reader")
    page.select_option("#order", "arrival")
    expect(page.locator("#rows tr").first).to_contain_text("P00")
    expect(page.locator("#rule")).to_contain_text(f"({STUDIES} studies wait for you)")
    page.locator("#scroll").focus()
    press(page, "Enter")
    at_study(page, 0)

    # Three right proposals: one key each.
    for number in range(3):
        press(page, "Enter")
        at_study(page, number + 1)

    # A region redrawn by mouse, then moved by keys; undone and done again.
    press(page, "b")
    drag(page, (0.45, 0.4), (0.55, 0.6))
    expect(page.locator("#regions .region.mine")).to_have_count(1)
    press(page, "ArrowRight", "ArrowDown", "Shift+ArrowRight")
    saved(page)
    page.wait_for_timeout(700)
    saved(page)
    press(page, "z", "z")
    expect(page.locator("#regions .region.mine")).to_have_count(0)
    press(page, "Shift+z", "Shift+z")
    expect(page.locator("#regions .region.mine")).to_have_count(1)
    press(page, "Enter")

    # A study that measures the model: nothing is proposed, and nothing can be accepted.
    at_study(page, HIDDEN)
    expect(page.locator("#proposed")).to_contain_text("without a proposal")
    expect(page.locator(".chance").first).to_have_text("")
    press(page, "h", "Enter")
    expect(page.locator("#message")).to_contain_text("State every finding first")
    press(page, "n", "Enter")
    at_study(page, 5)
    saved(page)

    # The node is killed while the reader goes on, and comes back.
    served.kill()
    press(page, "u")
    expect(page.locator("#saved")).to_have_attribute("data-state", "waiting")
    expect(page.locator("#saved")).to_contain_text("1 not saved yet")
    served.start()
    saved(page)
    press(page, "Enter")
    at_study(page, 6)

    # The network is gone for a minute: the next study was fetched ahead, and actions wait in the browser.
    expect(page.locator("#saved")).to_have_attribute("data-state", "saved")
    page.wait_for_timeout(500)
    context.set_offline(True)
    press(page, "y", "Enter")
    at_study(page, 7)
    press(page, "n", "z", "Shift+z")
    page.wait_for_timeout(60_000)
    expect(page.locator("#saved")).to_contain_text("4 not saved yet")
    context.set_offline(False)
    saved(page)

    # The browser goes away while the node is down; what it kept is sent when it is opened again.
    press(page, "Enter")
    at_study(page, 8)
    saved(page)
    served.kill()
    press(page, "y")
    expect(page.locator("#saved")).to_have_attribute("data-state", "waiting")
    page.close()
    served.start()
    page = context.new_page()
    seen += watched(page, served.base)
    page.goto(f"{served.base}/?order=arrival")
    page.wait_for_selector("body[data-ready]")
    saved(page)
    expect(page.locator("#rows tr").first).to_contain_text("P09")
    page.locator("#scroll").focus()
    press(page, "Enter")

    # A second window of the same reader in between, and a comment with markup.
    at_study(page, 9)
    other = context.new_page()
    other.goto(page.url)
    at_study(other, 9)
    press(page, "y")
    saved(page)
    expect(other.locator("#message")).to_contain_text("another window")
    press(other, "n")
    saved(other)
    expect(page.locator("[data-key=nodule]")).to_have_attribute("data-state", "absent")
    other.close()
    press(page, "t")
    page.keyboard.type(EVIL)
    press(page, "Escape")
    saved(page)
    for number in range(9, ASIDE):
        press(page, "Enter")
        at_study(page, number + 1)
    press(page, "d")
    expect(page.locator("#message")).to_contain_text("No study is left")
    saved(page)
    open_worklist(page, served, "show=open")
    expect(page.locator("#count")).to_contain_text(f"0 of {STUDIES}")
    expect(page.locator("#rule")).to_contain_text("(0 studies wait for you)")
    assert seen == []
    context.close()


def said_by(served: Served, reader: str) -> list[Annotation]:
    """Everything a reader said, study by study; the node is stopped for the look, and started again."""
    assert served.stop() == 0
    with Store.open(served.folder / "store") as store:
        found = [one for row in store.instances() for one in store.history(row.id) if one.reader == reader]
    served.start()
    return found


def _last(said: list[Annotation]) -> list[Annotation]:
    """The last word of each study, in their order."""
    return list({one.instance: one for one in said}.values())


def bert_s_morning(served: Served, browser: Browser, states: list[str]) -> None:
    """The second reader, who is not told what the first one said (states, by study), differs on three."""
    context = window(browser)
    page = context.new_page()
    seen = watched(page, served.base)
    sign_in(page, served, "bert", "reader")
    open_worklist(page, served, "order=arrival&show=second")
    expect(page.locator("#count")).to_contain_text(f"{STUDIES - 1} of {STUDIES}")  # one was set aside
    open_worklist(page, served, "order=arrival")
    press(page, "Enter")
    for number, state in enumerate(states):
        at_study(page, number)
        assert "anna" not in page.locator("body").inner_text()
        expect(page.locator("[data-key=nodule]")).to_have_attribute("data-state", "not_assessed")
        assert page.locator("#regions .region.mine").count() == 0
        if number in DISPUTED:
            state = "present" if state == "absent" else "absent"
        press(page, *(("d",) if number == ASIDE else (KEYS[state], "Enter")))
    expect(page.locator("#message")).to_contain_text("No study is left")
    saved(page)
    page.goto(f"{served.base}/adjudication")
    expect(page.locator("#message")).to_be_visible()
    assert page.locator("#rows tr").count() == 0
    assert seen == []
    context.close()


def eve_s_morning(served: Served, browser: Browser) -> None:
    """A lead settles the three, by one key each or by her own word."""
    context = window(browser)
    page = context.new_page()
    seen = watched(page, served.base)
    sign_in(page, served, "eve", "lead")
    page.click("header a[href='/adjudication']")
    expect(page.locator("#rows tr")).to_have_count(len(DISPUTED))
    page.locator("#scroll").focus()
    press(page, "Enter")
    for number, keys in zip(DISPUTED, (("a",), ("b",), ("u", "Enter")), strict=True):
        at_study(page, number)
        expect(page.locator("#readings-table tr.differs")).to_have_count(1)
        assert "anna" not in page.locator("main").inner_text()
        press(page, *keys)
    expect(page.locator("#message")).to_contain_text("No study is left")
    saved(page)
    assert seen == []
    context.close()


def check_before(folder: Path) -> None:
    """Before the lead, three patients hold every plan up."""
    assert f"the turn of {STUDIES} patients has come; 3 are not read" in command(folder, "status")
    with Store.open(folder / "store") as store, pytest.raises(UnreadError, match=f"3 of {STUDIES} patients"):
        store.freeze(b"0" * 32, store.history(store.instances()[0].id)[0].at)


def check_anna(folder: Path) -> None:
    """What anna's morning must have left behind."""
    with Store.open(folder / "store") as store:
        store.verify()
        rows = store.instances()
        lines = [[one for one in store.history(row.id) if one.reader == "anna"] for row in rows]
        proposals = [store.proposals_of(row.id)[0] for row in rows]
    ends = [replay(history) for history in lines]
    assert [end.current is not None and end.current.assessed for end in ends] == [True] * ASIDE + [False]
    states = [dict(end.current.states)["nodule"] for end in ends[:ASIDE] if end.current]
    suggested = ["present" if dict(one.probabilities)["nodule"] >= 0.5 else "absent" for one in proposals]
    assert states == [BY_HAND.get(number, said) for number, said in enumerate(suggested[:ASIDE])]
    # A right proposal costs one key, going on included; study 10 has the one that went on from 9, where all was said.
    right = [n for n in range(STUDIES) if n not in BY_HAND and n != ASIDE]
    assert [(len(lines[n]), lines[n][0].actions) for n in right] == [(1, 1 + (n == 10)) for n in right]
    assert all(one.proposal == proposals[n].id for n in right for one in lines[n])
    assert all(one.proposal is None for one in lines[HIDDEN])
    region = ends[3].current.regions[-1].shape if ends[3].current else None
    assert isinstance(region, Box)
    assert ends[3].current is not None and ends[3].current.regions[-1].origin == "drawn"
    assert [one.restates is not None for one in lines[3]].count(True) == 4
    assert len(lines[7]) == 3
    assert dict(lines[7][1].states) == {"nodule": "not_assessed"}
    assert [dict(one.states)["nodule"] for one in lines[9]][:2] == ["present", "absent"]
    assert ends[9].current is not None and ends[9].current.comment == EVIL
    events = [one.id for history in lines for one in history]
    assert len(events) == len(set(events))
    spent = sum(lines[n][0].actions for n in right)
    sys.stdout.write(f"{len(right)} right proposals: {spent} keys, going on included; by hand {2 * len(right)}\n")


def check_training(folder: Path) -> None:
    """The settled labels, and only they, are trained on, and the record names who they rest on."""
    OPEN_POLICY.write(folder / "policy.toml")
    with Node.open(folder, RIGHTS) as node:
        release = node.releases.current()
        assert release is not None
        rows = node.store.instances()
        standings = node.store.labels().standings()
        settled = {image for (image, _), one in standings.items() if isinstance(one, Settled)}
        assert settled == {row.id for row in rows} - {rows[ASIDE].id}
        plan = make_plan(release, {"A": 18, "b": 8}, name="morning", quorum=1)
        word = invite(node, plan, release)
        assert word.accepted, word.reason
        frozen = node.store.frozen(plan.hash)
        assert {one.instance for one in frozen} == settled - {rows[HIDDEN].id}
        assert [one.instance for one in node.store.frozen_held_out(plan.hash)] == [rows[HIDDEN].id]
        update = vector(ask(node, Step(plan.hash, "update", 1, 1, model(release), b"")))
        assert np.abs(update).max() > 0.0
        node.store.verify()
    records = json.loads(command(folder, "provenance", "morning", "--json"))["records"]
    assert Counter((one["used"], one["label"]) for one in records) == {
        ("training", "agreed"): 15,
        ("training", "adjudicated"): 3,
        ("evaluation", "agreed"): 1,
    }
    by_image = {one["instance"]: one for one in records}
    for number, row in enumerate(rows[:ASIDE]):
        readers = {reading["reader"] for reading in by_image[row.id]["readings"]}
        assert readers == ({"anna", "bert", "eve"} if number in DISPUTED else {"anna", "bert"})
        shown = {reading["proposal"] for reading in by_image[row.id]["readings"] if reading["reader"] != "eve"}
        assert (shown == {"hidden or none"}) == (number == HIDDEN)


def test_a_page_in_ci_may_not_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a browser this file skips on a developer's machine, and fails in CI."""
    monkeypatch.setattr("browsers.shutil.which", lambda _: None)
    for ci, outcome in (("true", pytest.fail.Exception), ("", pytest.skip.Exception)):
        monkeypatch.setenv("CI", ci)
        with pytest.raises(outcome, match="install the package chromium"), chromium():
            pass
