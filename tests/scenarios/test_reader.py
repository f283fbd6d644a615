"""A reader's morning: studies read by keyboard in a real browser, over a real node process that is killed twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from browsers import chromium, watched
from dicom_files import dicom
from hospitals import make_release
from playwright.sync_api import Browser, Page, expect

from medquorum.client.annotations import Annotation, Box
from medquorum.client.desk.timeline import replay
from medquorum.client.node import Node
from medquorum.client.propose import propose
from medquorum.client.store import NewInstance, Store

pytestmark = pytest.mark.slow

STUDIES = 20
HIDDEN = 4  # this study's patient is kept for evaluation
EVIL = '<img src=x onerror="alert(1)">'


class Served:
    """`medquorum node review` as a process; started again on its port after it was killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it and wait for the address that it prints."""
        command = [sys.executable, "-m", "medquorum", "node", "review", "--folder", str(self.folder)]
        log = (self.folder.parent / "node.log").open("a")
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), "--reader", "anna"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = re.search(r"http://127\.0\.0\.1:(\d+)/\S+", line)
            if found:
                self.address, self.port = found.group(0), int(found.group(1))
                return
        pytest.fail((self.folder.parent / "node.log").read_text())

    def kill(self) -> None:
        """End it without a word."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def picture(number: int) -> np.ndarray:
    """A 12-bit image."""
    return np.random.default_rng(number).integers(0, 4096, (64, 48)).astype(np.uint16)


@pytest.fixture
def served(tmp_path: Path) -> Generator[Served, None, None]:
    """A node with twenty studies of twenty patients, proposed by a release, behind its review page."""
    with Node.create(tmp_path / "node", "A", held_out_share=0.0) as node:
        node.releases.adopt(make_release())
        patients: list[str] = []
        for number in range(STUDIES):
            content = dicom(picture(number), number, WindowCenter="2000", WindowWidth="3000")
            name = EVIL if number == 2 else f"P{number:02}"
            uids = (f"1.2.{number}", f"1.2.{number}.1", f"1.2.{number}.1.1")
            made = f"202601{number + 1:02}"
            stored = node.store.add(
                NewInstance(
                    "H", name, *uids, "DX", "CHEST", "PA", "", 64, 48, 1, made, f"{number}.dcm", "dicom", content
                )
            )
            patients.append(stored.patient)
        node.store.set_held_out([patients[HIDDEN]], True)
        release = node.releases.current()
        assert release is not None
        propose(node.store, release)
    running = Served(tmp_path / "node")
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(20)


@pytest.fixture(scope="module")
def browser() -> Generator[Browser, None, None]:
    """A headless Chromium."""
    with chromium() as found:
        yield found


def press(page: Page, *keys: str) -> None:
    """Press keys one after the other."""
    for key in keys:
        page.keyboard.press(key)


def at_study(page: Page, number: int) -> None:
    """Wait until a study is on the screen with its image."""
    expect(page.locator("#patient")).to_have_text(EVIL if number == 2 else f"P{number:02}", timeout=15_000)
    expect(page.locator("#current canvas.image")).to_have_attribute("data-ready", "true")


def saved(page: Page) -> None:
    """Wait until the page says that everything is stored."""
    expect(page.locator("#saved")).to_have_attribute("data-state", "saved", timeout=15_000)


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag between two points of the image's canvas, given as shares of its sides."""
    box = page.locator("#current canvas.over").bounding_box()
    assert box is not None
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*points[0])
    page.mouse.down()
    page.mouse.move(*points[1], steps=4)
    page.mouse.up()


def test_a_reader_s_morning(served: Served, browser: Browser) -> None:
    context = browser.new_context(locale="en-GB", viewport={"width": 1300, "height": 850})
    page = context.new_page()
    seen = watched(page)
    page.goto(served.address)
    page.wait_for_selector("body[data-ready]")
    page.select_option("#order", "arrival")
    expect(page.locator("#rows tr").first).to_contain_text("P00")
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

    # The network is gone for a while: the next study was fetched ahead, and actions wait in the browser.
    expect(page.locator("#saved")).to_have_attribute("data-state", "saved")
    page.wait_for_timeout(500)
    context.set_offline(True)
    press(page, "y", "Enter")
    at_study(page, 7)
    press(page, "n", "z", "Shift+z")
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
    seen += watched(page)
    page.goto(f"http://127.0.0.1:{served.port}/?order=arrival")
    page.wait_for_selector("body[data-ready]")
    saved(page)
    expect(page.locator("#rows tr").first).to_contain_text("P09")
    page.locator("#scroll").focus()
    press(page, "Enter")

    # The rest, and a comment with markup; a second window of the same reader in between.
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
    for number in range(9, STUDIES - 1):
        press(page, "Enter")
        at_study(page, number + 1)
    press(page, "Enter")
    expect(page.locator("#message")).to_contain_text("No study is left")
    saved(page)
    page.goto(f"http://127.0.0.1:{served.port}/?show=open")
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("#count")).to_contain_text(f"0 of {STUDIES}")
    assert seen == []
    context.close()
    served.process.terminate()
    assert served.process.wait(20) == 0
    check_store(served.folder)


def check_store(folder: Path) -> None:
    """What the morning must have left behind."""
    with Store.open(folder / "store") as store:
        store.verify()
        rows = store.instances()
        lines: list[list[Annotation]] = [store.history(row.id) for row in rows]
        proposals = [store.proposals_of(row.id)[0] for row in rows]
    ends = [replay(history) for history in lines]
    assert all(end.current is not None and end.current.assessed for end in ends)
    states = [dict(end.current.states)["nodule"] for end in ends if end.current]
    suggested = ["present" if dict(one.probabilities)["nodule"] >= 0.5 else "absent" for one in proposals]
    by_hand = {3: "present", HIDDEN: "absent", 5: "uncertain", 6: "present", 7: "absent", 8: "present", 9: "absent"}
    assert states == [by_hand.get(number, said) for number, said in enumerate(suggested)]
    # A right proposal costs one key.
    assert [(len(lines[n]), lines[n][0].actions) for n in (1, 2, 12, 18)] == [(1, 1)] * 4
    assert all(one.proposal == proposals[n].id for n in (0, 12) for one in lines[n])
    assert all(one.proposal is None for one in lines[HIDDEN])
    region = ends[3].current.regions[-1].shape if ends[3].current else None
    assert isinstance(region, Box)
    assert ends[3].current is not None
    assert ends[3].current.regions[-1].origin == "drawn"
    assert [one.restates is not None for one in lines[3]].count(True) == 4
    assert len(lines[7]) == 3
    assert dict(lines[7][1].states) == {"nodule": "not_assessed"}
    assert [dict(one.states)["nodule"] for one in lines[9]][:2] == ["present", "absent"]
    assert ends[9].current is not None
    assert ends[9].current.comment == EVIL
    events = [one.id for history in lines for one in history]
    assert len(events) == len(set(events))
