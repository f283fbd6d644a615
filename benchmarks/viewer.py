"""The review page in headless Chromium without a GPU: frames while a window is dragged, and what a reader waits for.

Everything runs through the real page of a real node: pointer events move the window, keys open the next study, the
browser asks for the worklist. Ours redraws what is seen of the image, by a table. The alternative stands over the same
page and takes the same drag: it maps every pixel of the image by arithmetic, puts the whole image on a canvas and lets
the browser scale it. Canvas pixels are compared with numpy's while the window is dragged; the benchmark fails if one
differs.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np
from _harness import Cell, main, say
from _viewer_scripts import NAIVE, NO_NAIVE, PROBE, SIZE, WATCH
from desks import ManyStudies, canvas, middle, served
from dicom_files import dicom
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, sync_playwright

from medquorum.client.desk.frames import read_frame, window_table
from medquorum.client.desk.serving import DeskServer
from medquorum.client.node import Node
from medquorum.client.store import NewInstance
from medquorum.errors import MedquorumError

ROWS, COLUMNS = 2500, 2000
SCREEN = {"width": 1920, "height": 1080}
NOTES = (
    "a frame is one redrawn window; times are between frames that the browser made, at most 60 a second",
    "scripts: what the page's code takes of a frame (table, pixels, putImageData), without the browser's compositing",
    "processor time: of all the browser's processes, which work on several frames at once; little moved by other load",
    "next study: from the key to the image on the canvas; fetched ahead beside not fetched ahead, on one page",
    "worklist: from asking for the page to its rows, beside a list of the few studies that the node holds",
)


def radiograph(number: int) -> NDArray[np.uint16]:
    """A generated image with all 16 bits in use."""
    draw = np.random.default_rng(number)
    coarse = draw.random((26, 21)).repeat(100, axis=0).repeat(100, axis=1)[:ROWS, :COLUMNS]
    return (coarse * 60_000 + draw.integers(0, 5_000, (ROWS, COLUMNS))).astype(np.uint16)


def browser_time() -> float:
    """Milliseconds of processor time that the browser's processes have taken so far, all together."""
    found: dict[int, tuple[int, str, int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            name, fields = (place / "comm").read_text(), (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        found[int(place.name)] = int(fields[1]), name, int(fields[11]) + int(fields[12])
    total = 0
    for process, (_, name, ticks) in found.items():
        above = process
        while above in found and above != os.getpid():
            above = found[above][0]
        total += ticks if above == os.getpid() and name.startswith("chrom") else 0
    return 1000.0 * total / os.sysconf("SC_CLK_TCK")


def dragged(page: Page, moves: int) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds between frames, and of scripts in each, while the pointer is dragged over the image; and what the
    browser's processes together took of the processors for a frame."""
    x, y = middle(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 10, y + 10, steps=4)
    page.evaluate("() => Object.assign(window.probe, {scripts: [], frames: [], on: true})")
    before = browser_time()
    for turn in range(moves):
        page.mouse.move(x + 10 + turn % 97, y + 10 + turn % 53)
    scripts, frames = page.evaluate(
        "() => { window.probe.on = false; return [window.probe.scripts, window.probe.frames]; }"
    )
    taken = (browser_time() - before) / max(1, len(frames))
    page.mouse.up()
    return list(np.diff(frames)), scripts, [taken]


def check(page: Page, content: bytes) -> int:
    """Compare the canvas at 1:1 with numpy's; how many pixels of the image were seen."""
    page.keyboard.press("o")
    page.wait_for_timeout(200)
    seen = 0
    x, y = middle(page)
    page.mouse.move(x, y)
    page.mouse.down()
    frame = read_frame(content, "dicom", 0)
    places = frame.stored.astype(np.int32) - frame.low
    for step in (1, 2, 3):
        page.mouse.move(x + 37 * step, y - 23 * step, steps=3)
        # The drag in the page's own arithmetic: see gestures in viewer.js.
        speed = 60_000 / 400
        center, width = 32_000 - 23 * step * speed, 60_000 + 37 * step * speed
        found, zoom, left, top = canvas(page)
        rows, columns = found.shape[:2]
        wide = slice(max(0, left), min(COLUMNS, left + columns)), slice(max(0, top), min(ROWS, top + rows))
        expected = window_table(frame, center, width)[places[wide[1], wide[0]]]
        shown = found[max(0, -top) :, max(0, -left) :][: expected.shape[0], : expected.shape[1], 0]
        if zoom != 1.0 or not np.array_equal(shown, expected):
            differs = int((shown != expected).sum())
            raise MedquorumError(
                f"{differs} canvas pixels differ from numpy's", where="1:1, dragged", fix="find out why"
            )
        seen += expected.size
    page.mouse.up()
    page.keyboard.press("0")
    return seen


def frames(page: Page, case: str, moves: int, rounds: int) -> list[Cell]:
    """Frame times by ours and by the plain way, in turn."""
    ours: list[tuple[list[float], list[float], list[float]]] = []
    plain: list[tuple[list[float], list[float], list[float]]] = []
    for turn in range(rounds):
        for kept, naive in ((ours, False), (plain, True))[:: 1 if turn % 2 else -1]:
            if naive:
                page.evaluate(NAIVE)
            # The plain way makes fewer frames of as many moves: fewer are enough.
            kept.append(dragged(page, moves // 4 if naive else moves))
            if naive:
                page.evaluate(NO_NAIVE)
    found: list[Cell] = []
    what: tuple[tuple[str, int, Callable[[list[float]], float]], ...] = (
        ("frame time, median", 0, lambda one: float(np.median(one))),
        ("frame time, 95th percentile", 0, lambda one: float(np.percentile(one, 95))),
        ("scripts, median", 1, lambda one: float(np.median(one))),
        ("processor time of the browser for a frame", 2, lambda one: one[0]),
    )
    name = "every pixel by arithmetic, scaled by the browser"
    for label, which, figure in what:
        found.append(
            cell(f"{case}: {label}", [figure(one[which]) for one in ours], [figure(one[which]) for one in plain], name)
        )
    rates = [[len(one) / (sum(one) / 1000.0) for one, _, _ in both] for both in (ours, plain)]
    found.append(cell(f"{case}: frames a second", *rates, name, rate=True))
    return found


def cell(case: str, ours: Sequence[float], theirs: Sequence[float], name: str, rate: bool = False) -> Cell:
    """Medians of both, and the ratios of the pairs."""
    ratios = [b / a if rate else a / b for a, b in zip(ours, theirs, strict=True)]
    a, b = statistics.median(ours), statistics.median(theirs)
    unit = "frames/s" if rate else "ms"
    say(f"{case}: {a:.3g} against {b:.3g} {unit}")
    return Cell(case, a, b, name, unit, statistics.median(ratios), len(ratios), (min(ratios), max(ratios)))


def next_study(page: Page, key: str) -> float:
    """Milliseconds from a key to the image of another study on the canvas."""
    page.evaluate(WATCH)
    page.keyboard.press(key)
    return page.evaluate("() => window.waited")


def opened(browser: Browser, server: DeskServer, path: str) -> Page:
    """A page inside."""
    page = browser.new_page(viewport=SCREEN, locale="en-GB")  # pyright: ignore[reportArgumentType]
    page.add_init_script(PROBE)
    page.goto(server.address())
    page.goto(f"http://127.0.0.1:{server.port}{path}")
    page.wait_for_selector("body[data-ready]")
    return page


def worklist_times(page: Page, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds to the first paint and to the rows, of pages asked for anew."""
    paints: list[float] = []
    rows: list[float] = []
    for _ in range(rounds):
        page.reload()
        page.wait_for_selector("body[data-ready]")
        page.wait_for_timeout(100)
        paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        rows.append(page.evaluate("performance.getEntriesByName('rows')[0].startTime"))
    return paints, rows


def measure(quick: bool) -> Sequence[Cell]:
    """A node with studies of full size, a browser, and everything a reader waits for."""
    studies, moves, rounds = (6, 60, 1) if quick else (13, 120, 5)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise MedquorumError("no Chromium on this machine", fix="install the package chromium")
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as open_ones:
        folder = Path(scratch) / "node"
        node = open_ones.enter_context(Node.create(folder, "benchmark", held_out_share=0.0))
        contents = [
            dicom(radiograph(number), number, WindowCenter="32000", WindowWidth="60000")
            for number in range(1, studies + 1)
        ]
        for number, content in enumerate(contents, 1):
            uids = f"2.26.{number}", f"2.27.{number}", f"2.25.{number}"
            place = "", ROWS, COLUMNS, 1, f"202601{number:02}", f"{number}.dcm", "dicom", content
            node.store.add(NewInstance("H", f"P{number:02}", *uids, "DX", "CHEST", "PA", *place))  # pyright: ignore[reportArgumentType]
        playwright = open_ones.enter_context(sync_playwright())
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        open_ones.callback(browser.close)
        server = open_ones.enter_context(served(node, folder, "benchmark"))
        page = opened(browser, server, "/?order=arrival&show=all")
        return [
            *_viewing(page, contents[0], moves, rounds),
            *_turning(page, studies),
            *_listing(browser, node, page, folder, rounds),
        ]


def _viewing(page: Page, content: bytes, moves: int, rounds: int) -> list[Cell]:
    page.locator("#rows a").first.click()
    page.wait_for_selector("#current canvas.image[data-ready=true]", timeout=60_000)
    page.wait_for_timeout(3_000)  # the next study is fetched ahead meanwhile
    say(f"{check(page, content):,} canvas pixels at 1:1 equal numpy's, under three windows set by dragging")
    page.keyboard.press("f")
    page.wait_for_timeout(300)
    size = page.evaluate(SIZE)
    found = frames(page, f"2000 x 2500 at 16 bits, fitted into {size}", moves, rounds)
    page.keyboard.press("o")
    page.wait_for_timeout(300)
    return found + frames(page, f"2000 x 2500 at 16 bits, 1:1 in {size}", moves, rounds)


def _turning(page: Page, studies: int) -> list[Cell]:
    """Next study with the key: forward is fetched ahead, back to what was never opened is not."""
    half = (studies - 1) // 2
    ahead: list[float] = []
    for _ in range(half):
        page.wait_for_timeout(2_500)
        ahead.append(next_study(page, "."))
    page.goto(page.url)  # what is in the browser's memory is gone
    page.wait_for_selector("#current canvas.image[data-ready=true]", timeout=60_000)
    page.wait_for_timeout(2_500)
    cold: list[float] = []
    for _ in range(half):
        cold.append(next_study(page, ","))
        page.wait_for_timeout(2_500)
    return [cell("next study of 2000 x 2500 at 16 bits", ahead, cold, "not fetched ahead")]


def _listing(browser: Browser, node: Node, page: Page, folder: Path, rounds: int) -> list[Cell]:
    real = type(node.store).desk
    type(node.store).desk = lambda store: ManyStudies(store._vault)  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
    try:
        began = time.perf_counter()
        with served(node, folder, "benchmark") as server:
            say(f"{ManyStudies.many:,} studies in memory after {time.perf_counter() - began:.1f} s")
            many = opened(browser, server, "/?order=arrival&show=all")
            page.goto(f"{page.url.partition('/study')[0]}/?order=arrival&show=all")
            few_times = worklist_times(page, rounds)
            many_times = worklist_times(many, rounds)
    finally:
        type(node.store).desk = real
    return [
        cell(f"worklist of {ManyStudies.many:,} studies: {what}", ours, few, "a few studies")
        for what, ours, few in zip(("first paint", "rows there"), many_times, few_times, strict=True)
    ]


if __name__ == "__main__":
    main("viewer", __doc__.splitlines()[0], measure, NOTES)
