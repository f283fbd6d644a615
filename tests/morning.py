"""A hospital's reading room for journeys in a browser: a node of twenty studies served to its LAN by a real process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dicom
from hospitals import make_release
from playwright.sync_api import Page, expect
from typer.testing import CliRunner
from ward import PASSWORD

from medquorum.client.accounts.roles import Role
from medquorum.client.commands import node as commands
from medquorum.client.node import Node
from medquorum.client.propose import propose
from medquorum.client.settling import LabelRule
from medquorum.client.store import NewInstance

STUDIES = 20
HIDDEN = 4  # this study's patient is kept for evaluation
EVIL = '<img src=x onerror="alert(1)">'
NAMES = [EVIL if number == 2 else f"P{number:02}" for number in range(STUDIES)]


def picture(number: int) -> np.ndarray:
    """A 12-bit image."""
    return np.random.default_rng(number).integers(0, 4096, (64, 48)).astype(np.uint16)


def command(folder: Path, *words: str) -> str:
    """What a command of the node's prints."""
    found = CliRunner().invoke(commands, [*words, "--folder", str(folder)])
    assert found.exit_code == 0, found.output
    return found.stdout


def lay_out(folder: Path) -> None:
    """A node with twenty studies of twenty patients, proposed by a release; two readers settle a label, or a lead."""
    with Node.create(folder, "A", held_out_share=0.0, epsilon_cap=100.0, delta=0.1) as node:
        release = make_release()
        node.releases.adopt(release)
        patients: list[str] = []
        for number, name in enumerate(NAMES):
            content = dicom(picture(number), number, WindowCenter="2000", WindowWidth="3000")
            uids = (f"1.2.{number}", f"1.2.{number}.1", f"1.2.{number}.1.1")
            place = 64, 48, 1, f"202601{number + 1:02}", f"{number}.dcm", "dicom", content
            patients.append(node.store.add(NewInstance("H", name, *uids, "DX", "CHEST", "PA", "", *place)).patient)  # pyright: ignore[reportArgumentType]
        node.store.set_held_out([patients[HIDDEN]], True)
        node.store.labels().set_rule(LabelRule("two"))
        propose(node.store, release)
    command(folder, "review-certificate", "localhost")
    command(folder, "reader", "add", "it", "--role", "admin")  # who starts the page must have named somebody


class Served:
    """`medquorum node review --listen` as a process; started again on its port after it was killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    @property
    def base(self) -> str:
        """Where the page is."""
        return f"https://localhost:{self.port}"

    def start(self) -> None:
        """Start it and wait for the address that it prints."""
        desk = self.folder / "desk"
        served = ["--certificate", str(desk / "server.pem"), "--key", str(desk / "server.key"), "--name", "localhost"]
        where = ["--folder", str(self.folder), "--listen", f"127.0.0.1:{self.port}"]
        log = (self.folder.parent / "node.log").open("a")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "medquorum", "node", "review", *where, *served],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = re.search(r"https://localhost:(\d+)/", line)
            if found:
                self.port = int(found[1])
                return
        pytest.fail((self.folder.parent / "node.log").read_text())

    def kill(self) -> None:
        """End it without a word."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """End it as IT does; its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(30)


def sign_in(page: Page, served: Served, name: str, role: Role) -> None:
    """Make an account and sign in to it on the page, with its one-time code."""
    code = re.search(r"[0-9A-Z]{5}(-[0-9A-Z]{5}){3}", command(served.folder, "reader", "add", name, "--role", role))
    assert code is not None
    page.goto(f"{served.base}/login")
    page.locator("#first summary").click()
    page.fill("#fresh-name", name)
    page.fill("#code", code[0])
    page.fill("#fresh-password", PASSWORD)
    page.fill("#fresh-again", PASSWORD)
    page.locator("#fresh button[type=submit]").click()
    page.wait_for_url(f"{served.base}/")
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("#reader")).to_contain_text(name)


def press(page: Page, *keys: str) -> None:
    """Press keys one after the other."""
    for key in keys:
        page.keyboard.press(key)


def at_study(page: Page, number: int) -> None:
    """Wait until a study is on the screen with its image."""
    expect(page.locator("#patient")).to_have_text(NAMES[number], timeout=15_000)
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


def open_worklist(page: Page, served: Served, query: str) -> None:
    """The worklist, ready for keys."""
    page.goto(f"{served.base}/?{query}")
    page.wait_for_selector("body[data-ready]")
    page.locator("#scroll").focus()
