"""The review pages in a real browser: pixels to the bit, 50,000 studies, accessibility, both languages, one origin."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from desks import EVERYTHING, ManyStudies, canvas, inside, middle, served, shown
from dicom_files import dicom
from hospitals import RIGHTS, make_release
from playwright.sync_api import Browser, Page, expect

from medquorum.client.desk.frames import read_frame, window_table
from medquorum.client.desk.serving import DeskServer
from medquorum.client.node import Node
from medquorum.client.propose import propose
from medquorum.client.store import NewInstance

pytestmark = pytest.mark.slow

ROWS, COLUMNS = 300, 240
PIXELS = np.random.default_rng(5).integers(-800, 3000, (ROWS, COLUMNS)).astype(np.int16)
PADDED = np.where(PIXELS < -700, -800, PIXELS).astype(np.int16)
FILES = [
    dicom(PIXELS, 0, WindowCenter="600", WindowWidth="1500"),
    dicom(PIXELS, 1, WindowCenter="-300.5", WindowWidth="700.25", RescaleSlope="0.37", RescaleIntercept="-512.5"),
    dicom(PADDED, 2, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=-800),
]
NAMES = ("P0", "P0", '<script>alert("name")</script><img src=x onerror=alert(1)>')


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Generator[Node, None, None]:
    """Three studies of two patients, one of whom has markup for a name."""
    folder = tmp_path_factory.mktemp("pages") / "node"
    with Node.create(folder, "A", held_out_share=0.0, simulation=RIGHTS) as made:
        release = make_release()
        made.releases.adopt(release)
        for number, (name, content) in enumerate(zip(NAMES, FILES, strict=True)):
            uids = f"1.2.{number}", f"1.2.{number}.1", f"1.2.{number}.1.1"
            taken = f"202601{number + 1:02}"
            place = ROWS, COLUMNS, 1, taken, f"{number}.dcm", "dicom", content
            made.store.add(NewInstance("H", name, *uids, "DX", "CHEST", "PA", "", *place))  # pyright: ignore[reportArgumentType]
        propose(made.store, release)
        yield made


@pytest.fixture(scope="module")
def desk(node: Node) -> Generator[DeskServer]:
    with served(node, node.folder) as found:
        yield found


@pytest.fixture
def page(browser: Browser, desk: DeskServer) -> Generator[Page]:
    with inside(browser, desk, EVERYTHING) as found:
        yield found


def open_study(page: Page, row: int) -> None:
    """Open the study of a row of the worklist and wait for its image."""
    page.locator("#rows a").nth(row).click()
    shown(page)


def shown_image(page: Page) -> np.ndarray:
    """The image's 8-bit grey as it stands on the canvas at 1:1, and nothing but black around it."""
    found, zoom, x, y = canvas(page)
    assert zoom == 1.0
    assert (x, y) < (0, 0), "the window is larger than the image, so that all of it is seen"
    assert (found[..., 0] == found[..., 1]).all()
    assert (found[..., 0] == found[..., 2]).all()
    assert (found[..., 3] == 255).all()
    grey = found[..., 0].copy()
    image = grey[-y : -y + ROWS, -x : -x + COLUMNS].copy()
    grey[-y : -y + ROWS, -x : -x + COLUMNS] = 0
    assert not grey.any()
    return image


@pytest.mark.parametrize("row", range(len(FILES)))
def test_canvas_pixels_equal_numpy_s_to_the_bit(page: Page, row: int) -> None:
    open_study(page, row)
    frame = read_frame(FILES[row], "dicom", 0)
    place = frame.stored.astype(np.int32) - frame.low
    page.keyboard.press("o")
    stated = np.floor(frame.shown * 255.0 + 0.5).astype(np.uint8)
    assert np.array_equal(shown_image(page), stated[place])
    draw = np.random.default_rng(row)
    for center, width in [*zip(draw.uniform(-900, 3000, 6), draw.uniform(1, 4000, 6), strict=True), (100.5, 1.0)]:
        page.fill("#center", repr(float(center)))
        page.fill("#width", repr(float(width)))
        page.locator("#width").press("Tab")
        assert np.array_equal(shown_image(page), window_table(frame, float(center), float(width))[place])
    page.locator("#current canvas.over").focus()
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("i")
    assert np.array_equal(shown_image(page), window_table(frame, 100.5, 1.0, inverted=True)[place])
    page.keyboard.press("i")
    page.keyboard.press("0")
    assert np.array_equal(shown_image(page), stated[place])


def test_dragging_changes_the_window_and_the_right_button_pans(page: Page) -> None:
    open_study(page, 0)
    page.keyboard.press("o")
    before = shown_image(page)
    x, y = middle(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y - 40, steps=5)
    page.mouse.up()
    assert not np.array_equal(shown_image(page), before)
    assert float(page.input_value("#width")) == pytest.approx(1500 + 60 * 1500 / 400, rel=0.01)
    assert float(page.input_value("#center")) == pytest.approx(600 - 40 * 1500 / 400, rel=0.01)
    _, _, left, top = canvas(page)
    page.mouse.move(x, y)
    page.mouse.down(button="right")
    page.mouse.move(x + 30, y + 20, steps=3)
    page.mouse.up(button="right")
    assert canvas(page)[1] == 1.0
    assert canvas(page)[2:] == pytest.approx((left - 30, top - 20), abs=1)


def test_pages_have_no_accessibility_violations_in_either_language(page: Page) -> None:
    found: list[str] = []

    def look(name: str) -> None:
        for language in ("en", "zh"):
            page.select_option("#language", language)
            page.wait_for_timeout(300)
            missing = [key for key in page.locator("body").inner_text().split() if key.startswith(("key_", "rule_"))]
            result = Axe().run(page)
            found.extend(f"{name} {language}: {one['id']}" for one in result.response["violations"])
            found.extend(f"{name} {language}: no word {key}" for key in missing)
        page.select_option("#language", "en")

    look("worklist")
    page.click("header a")
    expect(page.locator("#count")).to_contain_text("not taken in")
    look("quarantine")
    page.go_back()
    page.wait_for_selector("body[data-ready]")
    open_study(page, 1)
    look("study")
    page.keyboard.press("c")
    expect(page.locator("#beside")).to_be_visible()
    page.keyboard.press("h")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("r")
    page.wait_for_timeout(500)
    found.extend(f"with prior: {one['id']}" for one in Axe().run(page).response["violations"])
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    found.extend(f"help: {one['id']}" for one in Axe().run(page).response["violations"])
    assert found == []


def test_a_name_with_markup_is_text(page: Page) -> None:
    expect(page.locator("#rows a").nth(2)).to_have_text(NAMES[2])
    open_study(page, 2)
    expect(page.locator("#patient")).to_have_text(NAMES[2])
    assert page.evaluate("document.querySelectorAll('#patient *, body img').length") == 0


def test_the_page_s_own_policy_stops_what_gets_in(page: Page) -> None:
    stopped = page.evaluate(
        """() => new Promise((done) => {
          document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
          try {
            document.body.innerHTML += "<b>x</b>";
            done("nothing");
          } catch (fault) {
            done(fault.name);
          }
        })"""
    )
    assert stopped in ("TypeError", "require-trusted-types-for")


def test_what_another_window_stored_is_never_still_being_saved(page: Page) -> None:
    """The storage of one window follows that of another late; here it is held back for as long as the look takes."""
    saved = page.locator("#saved")
    expect(saved).to_have_attribute("data-state", "saved")
    other = page.context.new_page()
    other.goto(f"{page.url.split('?')[0]}static/desk.css")
    other.evaluate(
        """() => {
          navigator.locks.request("medquorum-send", () => new Promise((free) => { window.free = free; }));
          const action = {id: "f".repeat(32), instance: "1".repeat(32), frame: 0};
          localStorage.setItem("medquorum-waits:0:one", JSON.stringify({reader: "anna", action}));
        }"""
    )
    expect(saved).to_have_attribute("data-state", "saving")
    other.evaluate(
        """() => new BroadcastChannel("medquorum-desk").postMessage({
          action: {id: "f".repeat(32), instance: "1".repeat(32)}, answer: {at_time: 0}})"""
    )
    expect(saved).to_have_attribute("data-state", "saved")
    other.evaluate("() => { localStorage.removeItem('medquorum-waits:0:one'); window.free(); }")
    page.wait_for_timeout(1500)
    expect(saved).to_have_attribute("data-state", "saved")
    expect(page.locator("#refused")).to_be_hidden()


def test_what_a_closed_window_left_is_sent_by_the_one_still_open(page: Page) -> None:
    other = page.context.new_page()
    other.goto(f"{page.url.split('?')[0]}static/desk.css")
    other.evaluate(
        """() => localStorage.setItem("medquorum-waits:0:two", JSON.stringify({
          reader: "anna", action: {id: "e".repeat(32), instance: "of no image"}}))"""
    )
    other.close()
    expect(page.locator("#refused")).to_be_visible()
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('medquorum-waits:'))") == []
    page.locator("#refused button").click()
    expect(page.locator("#saved")).to_have_attribute("data-state", "saved")


def first_rows(page: Page) -> float:
    """Milliseconds from asking for the worklist anew until its rows are there; the least of five."""
    times: list[float] = []
    for _ in range(5):
        page.reload()
        page.wait_for_selector("body[data-ready]")
        times.append(page.evaluate("performance.getEntriesByName('rows')[0].startTime"))
    return min(times)


def test_fifty_thousand_studies_are_there_about_as_soon_as_three(
    browser: Browser, node: Node, desk: DeskServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = browser.new_page()
    few.goto(desk.address())
    monkeypatch.setattr(type(node.store), "desk", lambda store: ManyStudies(store._vault))
    with served(node, tmp_path) as server:
        page = browser.new_page()
        page.goto(server.address())
        page.wait_for_selector("body[data-ready]")
        assert page.locator("#rows tr").count() == 60
        assert first_rows(page) < 4 * first_rows(few)
        page.locator("#scroll").focus()
        page.keyboard.press("End")
        expect(page.locator("#rows tr[aria-current]")).to_be_visible()
        page.fill("#find", "p49999")
        expect(page.locator("#count")).to_contain_text(f"1 of {ManyStudies.many}")
        page.close()
        few.close()
