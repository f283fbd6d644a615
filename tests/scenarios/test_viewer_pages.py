"""The viewer in a real browser: films, slices, mammograms, and pixels to the bit."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from desks import canvas, middle, reading, saved, shown
from dicom_files import dicom
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, expect
from viewer_studies import FRAMES, LARGE, MOVING, SIDE, SLICES, WINDOW, laid_out, open_study, plain

from medquorum.client.annotations import Box
from medquorum.client.desk.frames import read_frame, window_table
from medquorum.client.desk.timeline import replay
from medquorum.client.node import Node

pytestmark = pytest.mark.slow


@pytest.fixture
def node(tmp_path: Path) -> Generator[Node]:
    with laid_out(tmp_path / "node") as made:
        yield made


@pytest.fixture
def page(browser: Browser, node: Node) -> Generator[Page]:
    with reading(browser, node) as found:
        yield found


def visible(page: Page, rows: int = SIDE, columns: int = SIDE, which: str = "#current") -> NDArray[np.uint8]:
    """What of the image is on a canvas at 1:1."""
    found, zoom, x, y = canvas(page, which)
    assert zoom == 1.0
    return found[..., 0][max(0, -y) : max(0, rows - y), max(0, -x) : max(0, columns - x)]


def stated(pixels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """What numpy makes of stored values under the file's own window."""
    frame = read_frame(dicom(pixels, 1, **WINDOW), "dicom", 0)
    return np.floor(frame.shown * 255.0 + 0.5).astype(np.uint8)[pixels.astype(int) - frame.low]


def test_a_film_is_walked_played_and_read_frame_by_frame(page: Page, node: Node) -> None:
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "/api/image/" in one.url else None)
    open_study(page, "Film")
    number = page.locator("#slice-number")
    expect(number).to_have_text(f"frame 1 of {FRAMES}")
    expect(page.locator("#proposed")).to_contain_text("By release")
    assert [
        page.locator(f".canvases .mark.{side}").nth(1).inner_text() for side in ("left", "right", "top", "bottom")
    ] == [
        "R",
        "L",
        "H",
        "F",
    ]
    page.keyboard.press("o")
    assert np.array_equal(visible(page), stated(MOVING[0]))
    page.keyboard.press("ArrowRight")
    expect(number).to_have_text(f"frame 2 of {FRAMES}")
    assert np.array_equal(visible(page), stated(MOVING[1])), "the view stays as it was"
    expect(page.locator("#proposed")).to_contain_text("first frame of an image only")
    page.mouse.move(*middle(page))
    page.mouse.wheel(0, 180)
    expect(number).to_have_text(f"frame 5 of {FRAMES}")
    page.mouse.wheel(0, -60)
    expect(number).to_have_text(f"frame 4 of {FRAMES}")
    page.wait_for_timeout(500)
    film = [url for url in asked if url.rpartition("/")[0] == asked[0].rpartition("/")[0]]
    assert len(film) == len(set(film)) < 12, "only frames that are looked at, and some ahead"
    # The window stays while frames change.
    page.fill("#center", "1500")
    page.fill("#width", "1000")
    page.locator("#width").press("Tab")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("End")
    expect(number).to_have_text(f"frame {FRAMES} of {FRAMES}")
    frame = read_frame(film_content(node), "dicom", FRAMES - 1)
    expected = window_table(frame, 1500.0, 1000.0)[frame.stored.astype(int) - frame.low]
    assert np.array_equal(visible(page), expected)
    # Play goes round the end, at the file's speed, until a finding is stated.
    assert page.input_value("#speed") == "20"
    page.keyboard.press("m")
    expect(page.locator("#play")).to_have_attribute("aria-pressed", "true")
    page.wait_for_function("() => Number(document.querySelector('#slice').value) === 10")
    page.keyboard.press("m")
    expect(page.locator("#play")).to_have_attribute("aria-pressed", "false")
    page.locator("#slice").fill("8")
    expect(number).to_have_text(f"frame 8 of {FRAMES}")
    page.keyboard.press("y")  # the slider has the focus, and single keys work all the same
    page.locator("#current canvas.over").dispatch_event("pointerup")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("r")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("n")
    page.keyboard.press("z")
    expect(page.locator("[data-key=nodule]")).to_have_attribute("data-state", "present")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-key=nodule]")).to_have_attribute("data-state", "not_assessed")
    page.keyboard.press("u")
    expect(page.locator("#saved")).to_have_attribute("data-state", "saved")
    page.reload()
    shown(page)
    page.locator("#slice").fill("8")
    expect(page.locator("[data-key=nodule]")).to_have_attribute("data-state", "present")
    expect(page.locator("#regions .region.mine")).to_have_count(1)
    history = node.store.history(node.store.instances()[0].id)
    assert [len([one for one in history if one.frame == frame]) for frame in (7, 8)] == [5, 1]
    assert {one.proposal for one in history} == {None}, "nothing was proposed for these frames"
    ends = {frame: replay(one for one in history if one.frame == frame).current for frame in (7, 8)}
    assert [dict(end.states)["nodule"] for end in ends.values() if end] == ["present", "uncertain"]


def film_content(node: Node) -> bytes:
    """The film's file."""
    return node.store.content(node.store.instances()[0].id)


@pytest.mark.parametrize("patient", ["Film", "Breast"])
def test_films_and_views_beside_each_other_are_accessible_in_both_languages(page: Page, patient: str) -> None:
    open_study(page, patient)
    found: list[str] = []
    for language in ("en", "zh"):
        page.select_option("#language", language)
        shown(page)
        page.wait_for_timeout(400)
        found += [f"{language}: {one['id']}" for one in Axe().run(page).response["violations"]]
    assert found == []
    if patient == "Film":
        expect(page.locator("#slice-number")).to_have_text(f"第 1 帧，共 {FRAMES} 帧")


def test_slices_are_walked_in_the_order_of_their_numbers(page: Page) -> None:
    open_study(page, "Slices")
    expect(page.locator("#strip")).to_be_hidden()
    page.keyboard.press("o")
    found: list[int] = []
    for number in range(SLICES):
        expect(page.locator("#slice-number")).to_have_text(f"slice {number + 1} of {SLICES}")
        found.append(int(visible(page)[SIDE // 2, SIDE // 2]))
        page.keyboard.press("ArrowRight")
    assert found == sorted(set(found)), "brighter and brighter"
    page.keyboard.press("Home")
    expect(page.locator("#slice-number")).to_have_text(f"slice 1 of {SLICES}")
    assert page.locator("#current .mark.right").inner_text() == "L"
    assert page.locator("#current .mark.bottom").inner_text() == "P"


def test_a_mammogram_hangs_with_the_chest_walls_together(page: Page, node: Node) -> None:
    open_study(page, "Breast")
    assert [one.split("\n")[0] for one in page.locator("#strip button").all_inner_texts()] == [
        "MLO R",
        "MLO L",
        "CC R",
        "CC L",
    ]
    shown(page, "#beside")  # in pairs, without asking
    expect(page.locator("#beside-caption")).to_contain_text("MLO · L")
    for which in ("#current", "#beside"):
        expect(page.locator(f"{which} .mark.top")).to_have_text("H")
    sides = {
        which: page.locator(f"{which} .mark.{side}").inner_text()
        for which, side in (("#current", "right"), ("#beside", "left"))
    }
    assert sides == {"#current": "P", "#beside": "P"}, "the chest walls meet in the middle"
    left, right = middle(page), middle(page, "#beside")
    assert left[0] < right[0], "the patient's right side hangs to the left"
    # The right one is stored the other way round: it is mirrored to the bit, and regions with it.
    expect(page.locator("#current canvas.image")).to_have_attribute("data-mirrored", "true")
    expect(page.locator("#beside canvas.image")).to_have_attribute("data-mirrored", "false")
    page.keyboard.press("o")
    assert np.array_equal(visible(page), stated(MOVING[3])[:, ::-1])
    # One window for both, until they are parted.
    page.fill("#center", "900")
    page.locator("#center").press("Tab")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("f")
    other = page.evaluate("() => document.querySelector('#link').getAttribute('aria-pressed')")
    assert other == "true"
    page.keyboard.press("g")
    expect(page.locator("#link")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("]")
    expect(page.locator("#beside-caption")).to_contain_text("MLO · R")
    page.wait_for_timeout(300)
    assert middle(page)[0] > middle(page, "#beside")[0], "and stays there when the other is read"
    page.keyboard.press("]")
    expect(page.locator("#beside-caption")).to_contain_text("CC · L")
    page.keyboard.press("v")
    expect(page.locator("#beside")).to_be_hidden()
    page.keyboard.press("c")
    expect(page.locator("#message")).to_contain_text("no earlier study")


def test_regions_keep_their_place_when_the_picture_is_mirrored(page: Page, node: Node) -> None:
    open_study(page, "Plain0")
    page.keyboard.press("Shift+f")
    page.keyboard.press("b")
    x, y = middle(page)
    zoom = float(page.locator("#current canvas.image").get_attribute("data-zoom") or 0)
    page.mouse.move(x + 10 * zoom, y)
    page.mouse.down()
    page.mouse.move(x + 30 * zoom, y + 20 * zoom, steps=4)
    page.mouse.up()
    expect(page.locator("#regions .region[aria-pressed=true]")).to_have_count(1)
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(800)
    saved(page)
    line = replay(node.store.history(plain(node, 0)))
    assert line.current is not None
    (box,) = (one.shape for one in line.current.regions if one.origin == "drawn")
    assert isinstance(box, Box)
    # Stored columns run the other way: what is drawn and moved to the right lies and moves to the left.
    drawn = SIDE / 2 - 30 - 1, SIDE / 2, SIDE / 2 - 10 - 1, SIDE / 2 + 20
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx(drawn, abs=0.6)


def test_the_prior_film_follows(page: Page) -> None:
    page.locator("#rows a", has_text="Film").nth(1).click()
    shown(page)
    page.keyboard.press("c")
    beside = page.locator("#beside canvas.image")
    expect(beside).to_have_attribute("data-shown", re.compile("/0$"))
    page.keyboard.press("End")
    expect(beside).to_have_attribute("data-shown", re.compile(f"/{FRAMES - 1}$"))
    expect(page.locator("#beside-caption")).to_contain_text("20260101")
    page.keyboard.press("Home")
    expect(beside).to_have_attribute("data-shown", re.compile("/0$"))


def test_a_large_image_is_shown_to_the_bit_while_its_window_is_dragged(page: Page) -> None:
    open_study(page, "Large")
    page.keyboard.press("o")
    page.wait_for_timeout(300)
    frame = read_frame(dicom(LARGE, 300, WindowCenter="30000", WindowWidth="50000"), "dicom", 0)
    x, y = middle(page)
    page.mouse.move(x, y)
    page.mouse.down()
    for step in (1, 2, 3):
        page.mouse.move(x - 41 * step, y + 29 * step, steps=5)
        colours, zoom, left, top = canvas(page)
        assert zoom == 1.0
        found = colours[..., 0]
        table = window_table(frame, 30_000 + 29 * step * 125.0, 50_000 - 41 * step * 125.0)
        part = LARGE[top : top + found.shape[0], left : left + found.shape[1]]
        assert part.size > 500_000
        assert np.array_equal(found, table[part.astype(int) - frame.low])
    page.mouse.up()
