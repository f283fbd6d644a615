"""A node's desk served from this process, a browser's page inside it, and what stands on a canvas of the page."""

from __future__ import annotations

import base64
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from browsers import watched
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, expect

from medquorum.client.desk.serving import DeskServer
from medquorum.client.node import Node
from medquorum.client.store import InstanceRow
from medquorum.client.store.desk import Changes, DeskRow, DeskView

EVERYTHING = "/?order=arrival&show=all"


@contextmanager
def served(node: Node, folder: Path, reader: str = "anna") -> Generator[DeskServer]:
    """The node's desk for one reader; what the desk itself keeps lies in the folder, made if need be."""
    folder.mkdir(exist_ok=True)
    server = DeskServer(node.store, node.releases, folder, reader, 0)
    server.prepare()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def inside(browser: Browser, server: DeskServer, path: str = "/") -> Generator[Page]:
    """A page inside; nothing may go wrong on it and no request may leave its origin."""
    context = browser.new_context(locale="en-GB", viewport={"width": 1400, "height": 900})
    try:
        page = context.new_page()
        seen = watched(page)
        page.goto(server.address())
        page.goto(f"http://127.0.0.1:{server.port}{path}")
        page.wait_for_selector("body[data-ready]")
        yield page
        assert seen == []
    finally:
        context.close()


@contextmanager
def reading(browser: Browser, node: Node) -> Generator[Page]:
    """A page of a reader called anna, on the worklist with every study in it."""
    with served(node, node.folder) as server, inside(browser, server, EVERYTHING) as page:
        yield page


class ManyStudies(DeskView):
    """Fifty thousand studies that are in no store: what the list costs is the list's own."""

    many = 50_000

    def images(self, after: int = 0) -> list[DeskRow]:
        """Rows as a store would give them."""
        return [
            DeskRow(
                InstanceRow(
                    f"{n:032x}", f"p{n}", f"1.{n}", "DX", "CHEST", "PA", "", 9, 9, 1, "png", f"{n}.png", n % 10 == 0
                ),
                f"s{n}",
                "20260101",
                n,
                f"r{n}",
            )
            for n in range(after + 1, self.many + 1)
        ]

    def identities(self, wanted: Sequence[str]) -> dict[str, str]:
        """A name for each."""
        return {patient: f"Patient {patient}" for patient in wanted}

    def changes(self, after: int = 0) -> Changes:
        """One event, long ago."""
        return Changes(1, False, (), ())


def shown(page: Page, which: str = "#current") -> None:
    """Wait until an image is on a canvas."""
    expect(page.locator(f"{which} canvas.image")).to_have_attribute("data-ready", "true")


def saved(page: Page) -> None:
    """Wait until the page says that everything is stored."""
    expect(page.locator("#saved")).to_have_attribute("data-state", "saved")


def middle(page: Page, which: str = "#current") -> tuple[float, float]:
    """The middle of a canvas."""
    box = page.locator(f"{which} canvas.over").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def canvas(page: Page, which: str = "#current") -> tuple[NDArray[np.uint8], float, int, int]:
    """The red, green, blue and alpha of an image's canvas, its zoom, and the column and row of the image in its left
    upper corner."""
    page.wait_for_timeout(200)
    width, height, data, zoom, x, y = page.evaluate(
        """(which) => {
          const canvas = document.querySelector(`${which} canvas.image`);
          const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let text = "";
          for (let at = 0; at < data.length; at += 8192) text += String.fromCharCode(...data.subarray(at, at + 8192));
          const view = ["zoom", "x", "y"].map((one) => Number(canvas.dataset[one]));
          return [canvas.width, canvas.height, btoa(text), ...view];
        }""",
        which,
    )
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4), zoom, int(x), int(y)
