"""The quality page in a real browser: figures as tables and plots, a suspected label sent back by one key."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from desks import inside, served
from hospitals import make_node, make_release
from numpy.random import default_rng
from playwright.sync_api import Browser, expect

from medquorum.client.annotations import Annotation, Box, Proposal, Region, State, new_id
from medquorum.client.node import Node
from medquorum.client.settling import LabelRule

pytestmark = pytest.mark.slow

PATIENTS, HELD_OUT = 24, 16
WRONG = 3  # the image of which the first reader says the opposite
READ_AT = datetime(2026, 1, 1, tzinfo=UTC)  # when tests/hospitals.py's reader reads


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Generator[Node, None, None]:
    """Forty patients, sixteen of them held out; two readers who differ now and then, and a fair model's proposals."""
    draw = default_rng(4)
    with make_node(tmp_path_factory.mktemp("q") / "n", "a", PATIENTS, HELD_OUT, images=1) as made:
        release = make_release()
        made.releases.adopt(release)
        made.store.labels().set_rule(LabelRule("any", ("eve",)))
        for number, row in enumerate(made.store.instances()):
            present = number % 2 == 0
            chance = float(1 / (1 + 2.7 ** -draw.normal(1.8 if present else -1.8, 1.0)))
            said = (("nodule", 0.98 if number == WRONG else chance),)
            region = (Region("nodule", Box(4, 4, 14, 14), "proposed"),) if said[0][1] > 0.5 else ()
            at = READ_AT - timedelta(days=1)
            name = release.hash.hex()
            proposal = Proposal(new_id(), row.id, 0, name, True, "", said, region, at)
            made.store.add_proposals([proposal])
            says = present != bool(draw.random() < 0.15)
            state: State = "present" if says else "absent"
            box = (Region("nodule", Box(5, 5, 15, 13 + number % 3), "drawn"),) if says else ()
            shown = (None, None) if row.held_out or number % 3 == 0 else (name, proposal.id)
            seconds = float(draw.uniform(3, 9))
            later = READ_AT + timedelta(hours=1)
            made.store.annotate(
                Annotation(new_id(), row.id, 0, "mei", later, *shown, (("nodule", state),), box, 2, seconds, None)
            )
        yield made


def test_the_page_shows_the_figures_and_sends_a_label_back(node: Node, browser: Browser, tmp_path: Path) -> None:
    with served(node, tmp_path / "eve", "eve") as server, inside(browser, server) as page:
        page.click("header a[href='/quality']")
        page.wait_for_selector("body[data-computed=true]")
        expect(page.locator("#computed")).to_contain_text("Computed at")
        expect(page.locator("#agreement tbody tr").first).to_contain_text("Krippendorff")
        expect(page.locator("#by-reader tbody tr")).to_have_count(2)
        expect(page.locator("#hidden-share")).to_contain_text("16 images of 16 patients")
        expect(page.locator("#hidden-share")).to_contain_text("commoner answer")
        # Every plot says in words what it shows, and stands beside a table or a caption.
        plots = page.locator("svg.plot")
        assert plots.count() >= 5
        assert all(
            page.evaluate("[...document.querySelectorAll('svg.plot')].map((one) => one.getAttribute('aria-label'))")
        )
        dots = page.locator("#hidden-share svg.plot circle").count()
        assert dots == page.locator("#hidden-share h3 ~ .beside tbody tr").count() + 2

        found: list[str] = []
        for language in ("zh", "en"):
            page.select_option("#language", language)
            page.wait_for_timeout(300)
            found += [f"{language}: {one['id']}" for one in Axe().run(page).response["violations"]]
            words = page.locator("body").inner_text().split()
            found += [word for word in words if word.startswith(("key_", "lacks_", "hidden_", "measure_", "outcome_"))]
        assert found == []

        # The likeliest error first; one key sends it back to who said it, and its label still counts.
        before = node.store.labels().standings()
        first = page.locator("#suspects tbody tr").first
        expect(first).to_contain_text("98 %")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("s")
        expect(first.locator("button")).to_be_disabled()
        expect(page.locator("#sent")).to_contain_text("1 sent back in all, 1 not yet looked at again")
        (sent, how) = node.store.labels().sent_back()[0]
        assert (sent.by, sent.whom, sent.why, how) == ("eve", "reader", "suspect", "open")
        assert sent.instance == node.store.instances()[WRONG].id
        assert node.store.labels().standings() == before

        # Any study may be sent back: it is searched for.
        page.fill("#find", "a-7")
        page.locator("#sought button").first.click()
        expect(page.locator("#sent")).to_contain_text("2 sent back in all")
        assert node.store.labels().sent_back()[1][0].whom == ""

        # Computed anew on demand, with a new time.
        page.click("#compute")
        page.wait_for_selector("body[data-computed=true]")
        expect(first.locator("button")).to_have_text("Sent back")
