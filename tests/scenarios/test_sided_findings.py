"""Findings of a side in a real browser: both sides of a concept on one line, each by keyboard, in both languages."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from desks import reading, shown
from dicom_files import dicom
from hospitals import RIGHTS, SIDED_TASK, make_release
from playwright.sync_api import Browser, Page, expect

from medquorum.client.node import Node
from medquorum.client.propose import propose
from medquorum.client.store import NewInstance

pytestmark = pytest.mark.slow

ROWS, COLUMNS = 120, 100
SIDES = ("", "L")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Generator[Node, None, None]:
    """Two studies: a film of both sides, and one of the left side."""
    with Node.create(tmp_path_factory.mktemp("sides") / "node", "A", held_out_share=0.0, simulation=RIGHTS) as made:
        release = make_release(task=SIDED_TASK)
        made.releases.adopt(release)
        for number, side in enumerate(SIDES):
            pixels = np.random.default_rng(number).integers(0, 3000, (ROWS, COLUMNS)).astype(np.uint16)
            uids = f"1.2.{number}", f"1.2.{number}.1", f"1.2.{number}.1.1"
            place = ROWS, COLUMNS, 1, f"202601{number + 1:02}", f"{number}.dcm", "dicom", dicom(pixels, number)
            made.store.add(NewInstance("H", f"P{number}", *uids, "DX", "CHEST", "PA", side, *place))  # pyright: ignore[reportArgumentType]
        propose(made.store, release)
        yield made


@pytest.fixture
def page(browser: Browser, node: Node) -> Generator[Page]:
    """On the film of both sides."""
    with reading(browser, node) as found:
        expect(found.locator("#release")).to_contain_text("Pleural effusion, left; Pleural effusion, right; Nodule")
        found.locator("#rows a").first.click()
        shown(found)
        yield found


def states(page: Page) -> dict[str, str]:
    return {
        str(one.get_attribute("data-key")): str(one.get_attribute("data-state"))
        for one in page.locator("#findings .finding").all()
    }


def current(page: Page) -> str | None:
    return page.locator("#findings .finding[aria-current]").get_attribute("data-key")


def test_both_sides_stand_on_one_line_and_each_has_its_keys(page: Page, node: Node) -> None:
    assert list(states(page)) == ["effusion_right", "effusion_left", "nodule"]
    both = page.locator("#findings > .concept")
    expect(both.locator("> .meaning")).to_have_text("Pleural effusion")
    right, left = (both.locator(f'[data-key="effusion_{side}"]') for side in ("right", "left"))
    expect(right.locator(".meaning")).to_have_text("right")
    expect(page.get_by_role("group", name="Pleural effusion, left")).to_be_visible()
    one, other = right.bounding_box(), left.bounding_box()
    assert one is not None and other is not None
    assert one["y"] == other["y"] and one["x"] + one["width"] <= other["x"] + 1
    # Down the list, to the other side and back, and stated there.
    page.evaluate("document.activeElement.blur()")
    assert current(page) == "effusion_right"
    page.keyboard.press("y")
    page.keyboard.press("Shift+S")
    assert current(page) == "effusion_left"
    page.keyboard.press("n")
    page.keyboard.press("Shift+S")
    assert current(page) == "effusion_right"
    for _ in range(2):
        page.keyboard.press("j")
    assert current(page) == "nodule"
    page.keyboard.press("Shift+S")  # it has no other side
    assert current(page) == "nodule"
    page.keyboard.press("u")
    assert states(page) == {"effusion_right": "present", "effusion_left": "absent", "nodule": "uncertain"}
    expect(page.locator("#saved")).to_contain_text("Saved")
    kept = [dict(one.states) for one in node.store.current_annotations().values()]
    assert {"effusion_left": "absent", "effusion_right": "present", "nodule": "uncertain"} in kept
    # A region says whose side it marks.
    page.keyboard.press("k")
    page.keyboard.press("r")
    expect(page.locator("#regions")).to_contain_text("Pleural effusion, left")


def test_a_film_of_one_side_shows_that_side_alone(page: Page) -> None:
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press(".")
    expect(page.locator("#caption")).to_contain_text("PA · L")
    assert list(states(page)) == ["effusion_left", "nodule"]
    expect(page.locator('#findings > [data-key="effusion_left"] .meaning')).to_have_text("Pleural effusion, left")
    page.keyboard.press("a")
    assert states(page) == {"effusion_left": "absent", "nodule": "absent"}
    expect(page.locator("#saved")).to_contain_text("Saved")


def test_the_panel_is_accessible_and_speaks_chinese(page: Page) -> None:
    assert [one["id"] for one in Axe().run(page).response["violations"]] == []
    page.select_option("#language", "zh")
    expect(page.locator('[data-key="effusion_left"] .meaning')).to_have_text("左侧")
    expect(page.get_by_role("group", name="Pleural effusion（右侧）")).to_be_visible()
    assert [one["id"] for one in Axe().run(page).response["violations"]] == []
