"""What may go wrong while one reads: a full disk, a browser that is gone, a release that is replaced."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from desks import reading, saved, shown
from hospitals import make_release
from playwright.sync_api import Browser, Page, expect
from viewer_studies import laid_out, open_study, plain

from medquorum.client.annotations import Annotation
from medquorum.client.desk.timeline import replay
from medquorum.client.node import Node
from medquorum.client.propose import propose

pytestmark = pytest.mark.slow


@pytest.fixture
def node(tmp_path: Path) -> Generator[Node]:
    with laid_out(tmp_path / "node") as made:
        yield made


@pytest.fixture
def page(browser: Browser, node: Node) -> Generator[Page]:
    with reading(browser, node) as found:
        yield found


def test_a_disk_that_fills_up_while_one_reads_loses_nothing(page: Page, node: Node) -> None:
    open_study(page, "Plain0")
    page.keyboard.press("y")
    saved(page)
    # SQLite's limit on its own file stands for the disk's end: what is full then is really full.
    limit = "PRAGMA max_page_count"
    with node.store._vault.transaction() as connection:  # pyright: ignore[reportPrivateUsage]
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"{limit} = {pages}")
    typed = ""
    for number in range(60):
        typed = f"{number} {'x' * 1900}"
        page.fill("#comment", typed)
        page.locator("#comment").press("Escape")
        page.wait_for_timeout(60)
        if page.locator("#saved").get_attribute("data-state") == "waiting":
            break
    expect(page.locator("#saved")).to_have_attribute("data-state", "waiting")
    expect(page.locator("#saved")).to_contain_text("disk is full")
    page.keyboard.press("Enter")  # the reader goes on meanwhile
    expect(page.locator("#patient")).to_have_text("Plain1")
    page.keyboard.press("n")
    expect(page.locator("#saved")).to_contain_text("not saved yet")
    assert node.store.history(plain(node, 1)) == []
    with node.store._vault.transaction() as connection:  # pyright: ignore[reportPrivateUsage]
        connection.exec_driver_sql(f"{limit} = 1073741823")
    saved(page)
    lines = [replay(node.store.history(plain(node, number))) for number in (0, 1)]
    states = [dict(line.current.states)["nodule"] for line in lines if line.current]
    assert states == ["present", "absent"]
    assert lines[0].current is not None
    assert lines[0].current.comment == typed


def test_a_browser_that_never_comes_back_leaves_what_was_saved_and_no_more(browser: Browser, node: Node) -> None:
    with reading(browser, node) as page:
        open_study(page, "Plain0")
        page.keyboard.press("y")
        page.keyboard.press("Enter")
        expect(page.locator("#patient")).to_have_text("Plain1")
        shown(page)
        page.keyboard.press("n")
        saved(page)
        page.keyboard.press("t")
        page.keyboard.insert_text("half a sent")
        page.wait_for_timeout(300)
    # Its profile is gone with it: another browser knows only what the node knows.
    with reading(browser, node) as page:
        expect(page.locator("#rows tr", has_text="Plain1").locator(".status")).to_have_text("Read")
        expect(page.locator("#rows tr", has_text="Plain2").locator(".status")).to_have_text("Not read")
        open_study(page, "Plain1")
        expect(page.locator("[data-key=nodule]")).to_have_attribute("data-state", "absent")
        expect(page.locator("#comment")).to_have_value("")
        page.keyboard.press("z")
        expect(page.locator("[data-key=nodule]")).to_have_attribute("data-state", "not_assessed")
        page.keyboard.press("Shift+z")
        page.keyboard.press("Enter")
        expect(page.locator("#patient")).to_have_text("Plain2")
        saved(page)
    history: list[Annotation] = node.store.history(plain(node, 1))
    assert len(history) == 3
    assert len(node.store.history(plain(node, 0))) == 1
    node.store.verify()


def test_a_release_replaced_while_a_study_is_open_is_said_and_told_apart(page: Page, node: Node) -> None:
    first = node.releases.current()
    assert first is not None
    open_study(page, "Plain2")
    expect(page.locator("#proposed")).to_contain_text(first.hash.hex()[:12])
    page.wait_for_timeout(800)  # the next study is fetched ahead, with the first release's proposal
    second = make_release(seed=8)
    node.releases.adopt(second)
    propose(node.store, second)
    page.keyboard.press("y")
    saved(page)
    expect(page.locator("#message")).to_contain_text("Another release proposes now")
    page.keyboard.press("Enter")
    expect(page.locator("#patient")).to_have_text("Plain3")
    page.keyboard.press("Enter")
    expect(page.locator("#patient")).to_have_text("Plain4")
    expect(page.locator("#proposed")).to_contain_text(second.hash.hex()[:12])
    page.keyboard.press("Enter")
    saved(page)
    names = [node.store.history(plain(node, number))[0].release for number in (2, 3, 4)]
    assert names[0] == first.hash.hex(), "what the reader was shown keeps its name"
    assert names[2] == second.hash.hex()
    assert names[1] in names
