"""Disagreements settled in a real browser: two readers differ, a lead settles, a reader looks again."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from desks import inside, saved, served, shown
from dicom_files import dicom
from hospitals import RIGHTS, make_release
from numpy.random import default_rng
from playwright.sync_api import Browser, Page, expect

from medquorum.client.annotations import Annotation, Box, Region, State, new_id
from medquorum.client.node import Node
from medquorum.client.propose import propose
from medquorum.client.settling import LabelRule, Settled
from medquorum.client.store import NewInstance

pytestmark = pytest.mark.slow

AT = datetime(2026, 2, 1, tzinfo=UTC)
STUDIES = 5
DISPUTED = (0, 1, 2)
HIDDEN = 2


def reading(image: str, reader: str, state: State, box: Box | None = None) -> Annotation:
    regions = () if box is None else (Region("nodule", box, "drawn"),)
    states = (("nodule", state),)
    return Annotation(new_id(), image, 0, reader, AT, None, None, states, regions, 3, 7.0, None, "apex" if box else "")


@pytest.fixture
def node(tmp_path: Path) -> Generator[Node, None, None]:
    """Five studies; on three of them anna and bert differ, and one of those measures the model."""
    with Node.create(tmp_path / "node", "A", held_out_share=0.0, simulation=RIGHTS) as made:
        release = make_release()
        made.releases.adopt(release)
        for number in range(STUDIES):
            content = dicom(default_rng(number).integers(0, 4096, (90, 70)).astype("uint16"), number)
            uids = f"1.2.{number}", f"1.2.{number}.1", f"1.2.{number}.1.1"
            place = 90, 70, 1, f"202601{number + 1:02}", f"{number}.dcm", "dicom", content
            stored = made.store.add(NewInstance("H", f"P{number}", *uids, "DX", "CHEST", "PA", "", *place))  # pyright: ignore[reportArgumentType]
            made.store.set_held_out([stored.patient], number == HIDDEN)
            made.store.annotate(reading(stored.instance, "anna", "present", Box(10, 12, 40, 50)))
            again: State = "absent" if number in DISPUTED else "present"
            made.store.annotate(
                reading(stored.instance, "bert", again, None if again == "absent" else Box(12, 12, 42, 52))
            )
        propose(made.store, release)
        made.store.labels().set_rule(LabelRule("two", ("eve",)))
        yield made


def at_study(page: Page, number: int) -> None:
    """Wait until a study is on the screen with its image."""
    expect(page.locator("#patient")).to_have_text(f"P{number}")
    shown(page)


def colours(page: Page) -> list[tuple[int, int, int]]:
    """The colours that lie over the image."""
    found = page.evaluate(
        """() => {
          const over = document.querySelector("#current canvas.over");
          const {data} = over.getContext("2d").getImageData(0, 0, over.width, over.height);
          const seen = new Set();
          for (let at = 0; at < data.length; at += 4) {
            if (data[at + 3] === 255) seen.add(data.slice(at, at + 3).join());
          }
          return [...seen];
        }"""
    )
    return [tuple(int(part) for part in one.split(",")) for one in found]  # pyright: ignore[reportReturnType]


def violations(page: Page) -> list[str]:
    """What axe finds, in both languages."""
    found: list[str] = []
    for language in ("zh", "en"):
        page.select_option("#language", language)
        page.wait_for_timeout(300)
        found += [f"{language}: {one['id']}" for one in Axe().run(page).response["violations"]]
    return found


def test_a_lead_settles_by_one_key_each_and_a_reader_looks_again(node: Node, browser: Browser, tmp_path: Path) -> None:
    with (
        served(node, tmp_path / "eve", "eve") as lead,
        served(node, tmp_path / "anna", "anna") as reader,
        inside(browser, lead) as page,
        inside(browser, reader) as other,
    ):
        page.click("header a[href='/adjudication']")
        expect(page.locator("#rows tr")).to_have_count(3)
        assert "anna" not in page.locator("body").inner_text()
        assert violations(page) == []
        page.locator("#scroll").focus()
        page.keyboard.press("Enter")

        # The two readings beside each other, nobody named, nothing proposed; then with names.
        at_study(page, 0)
        table = page.locator("#readings-table")
        expect(table.locator("thead th")).to_have_text(["Finding", "Reader A", "Reader B"])
        expect(table.locator("tr.differs")).to_contain_text("≠ differ")
        expect(page.locator("#proposed")).to_contain_text("does not lean on the scales")
        assert page.locator(".chance").all_inner_texts() == [""]
        assert "anna" not in page.locator("main").inner_text()
        assert {(255, 158, 245), (182, 255, 122)} & set(colours(page)), "a reader's region lies over the image"
        page.check("#names")
        expect(table.locator("thead th").nth(1)).to_contain_text(": ")
        names = [text.split(": ")[1] for text in table.locator("thead th").all_inner_texts()[1:]]
        assert sorted(names) == ["anna", "bert"]
        page.uncheck("#names")
        expect(table.locator("thead th").nth(1)).to_have_text("Reader A")
        assert violations(page) == []

        # One key takes anna's over and goes on; the region comes with it.
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("ab"[names.index("anna")])
        at_study(page, 1)
        # The lead's own word, undone and done again, and on with Enter.
        page.keyboard.press("p")
        expect(page.locator(".chance").first).to_contain_text("proposed")
        page.keyboard.press("u")
        page.keyboard.press("z")
        expect(page.locator("[data-key=nodule]")).to_have_attribute("data-state", "not_assessed")
        page.keyboard.press("Shift+z")
        expect(page.locator("#readings-note")).to_contain_text("Settled")
        page.keyboard.press("Enter")
        at_study(page, HIDDEN)
        expect(page.locator("#proposed")).to_contain_text("never trained on")
        page.keyboard.press("p")
        assert page.locator(".chance").all_inner_texts() == [""]
        page.keyboard.press("n")
        saved(page)
        page.keyboard.press("Enter")
        expect(page.locator("#message")).to_contain_text("No study is left")
        saved(page)
        page.click("#back")
        expect(page.locator("#count")).to_have_text("0 studies")
        page.select_option("#disputes", "adjudicated")
        expect(page.locator("#rows tr")).to_have_count(3)
        standings = node.store.labels().standings()
        images = [row.id for row in node.store.instances()]
        settled = [standings[images[number], 0] for number in DISPUTED]
        assert all(isinstance(one, Settled) and one.how == "adjudicated" and len(one.rests_on) == 3 for one in settled)
        said = [one.annotation for one in settled if isinstance(one, Settled)]
        assert [dict(one.states)["nodule"] for one in said] == ["present", "uncertain", "absent"]
        assert said[0].regions == node.store.history(images[0])[0].regions and said[0].actions <= 4

        # Who is no lead is told how one becomes one, and sees no link.
        assert other.locator("header a[href='/adjudication']").is_hidden()
        other.goto(f"http://127.0.0.1:{reader.port}/adjudication")
        expect(other.locator("#message")).to_contain_text("--lead NAME")
        assert other.locator("#rows tr").count() == 0

        # Sent back: a mark, a filter, the proposal hidden; Enter says the same once more.
        node.store.labels().send_back(images[4], 0, "eve", "anna", "suspect")
        other.goto(f"http://127.0.0.1:{reader.port}/?show=again")
        expect(other.locator("#rows tr")).to_have_count(1)
        expect(other.locator("#rows .again")).to_have_text("Look again")
        other.locator("#rows a").click()
        at_study(other, 4)
        expect(other.locator("#again")).to_contain_text("look at this image again")
        expect(other.locator("#proposed")).to_contain_text("hidden while you look again")
        assert violations(other) == []
        other.evaluate("document.activeElement.blur()")
        other.keyboard.press("Enter")
        expect(other.locator("#message")).to_contain_text("No study is left")
        saved(other)
        assert [how for _, how in node.store.labels().sent_back()] == ["confirmed"]
