"""Signing in on the LAN in a real browser: a first code, reading, the page of accounts, and being put out again."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsers import watched
from dicom_files import dicom
from hospitals import RIGHTS, make_release
from playwright.sync_api import Browser, BrowserContext, Page, expect
from ward import PASSWORD, Noted

from medquorum.client.accounts.administration import Administration
from medquorum.client.accounts.book import Book
from medquorum.client.desk.exposure import Exposure
from medquorum.client.desk.serving import LanServer
from medquorum.client.node import Node
from medquorum.client.propose import propose
from medquorum.client.store import NewInstance
from medquorum.privacy.certificates import issue, make_authority

pytestmark = pytest.mark.slow

EVIL = '<img src=x onerror=alert("account")>'


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Generator[Node]:
    """A node with one study of somebody whose name is markup, and one account."""
    folder = tmp_path_factory.mktemp("lan") / "node"
    with Node.create(folder, "Riverside", held_out_share=0.0, simulation=RIGHTS) as made:
        release = make_release()
        made.releases.adopt(release)
        pixels = np.random.default_rng(1).integers(0, 4096, (200, 160)).astype(np.uint16)
        place = 200, 160, 1, "20260101", "0.dcm", "dicom", dicom(pixels, 0)
        made.store.add(NewInstance("H", EVIL, "1.2", "1.2.1", "1.2.1.1", "DX", "CHEST", "PA", "", *place))  # pyright: ignore[reportArgumentType]
        propose(made.store, release)
        yield made


def accounts_of(node: Node) -> tuple[Book, Administration]:
    """The accounts as a command of another process has them."""
    book = Book(node.folder)
    return book, Administration(book, Noted())


@pytest.fixture(scope="module")
def first_code(node: Node) -> str:
    """The code of the first admin."""
    book, accounts = accounts_of(node)
    try:
        return accounts.add("anna", "admin", "it")
    finally:
        book.close()


@pytest.fixture(scope="module")
def base(node: Node, first_code: str) -> Generator[str]:
    """Where the desk is served."""
    make_authority(node.folder, "test")
    issued = issue(node.folder, "server", ("localhost",))
    exposure = Exposure("127.0.0.1:0", ("localhost",), issued.certificate, issued.key)
    with LanServer(node.store, node.releases, node.folder, exposure).beside() as server:
        yield f"https://localhost:{server.port}"


def opened(browser: Browser, base: str, locale: str) -> tuple[BrowserContext, Page, list[str]]:
    """A browser of its own, watched."""
    context = browser.new_context(locale=locale, viewport={"width": 1200, "height": 800}, ignore_https_errors=True)
    page = context.new_page()
    return context, page, watched(page, base)


def enrol(page: Page, name: str, code: str, password: str = PASSWORD) -> None:
    """Sign in for the first time."""
    page.locator("#first summary").click()
    for field, value in (("fresh-name", name), ("code", code), ("fresh-password", password), ("fresh-again", password)):
        page.fill(f"#{field}", value)
    page.locator("#fresh button").click()
    page.wait_for_selector("#rows")
    page.wait_for_selector("body[data-ready]")


def violations(page: Page) -> list[str]:
    """What axe finds on a page, in English and in Chinese."""
    found: list[str] = []
    for language in ("en", "zh"):
        page.select_option("#language", language)
        page.wait_for_timeout(200)
        found += [f"{page.url} {language}: {one['id']}" for one in Axe().run(page).response["violations"]]
    page.select_option("#language", "en")
    return found


def test_a_reader_signs_in_reads_and_is_put_out(browser: Browser, base: str, node: Node, first_code: str) -> None:
    admins, admin, admin_saw = opened(browser, base, "en-GB")
    admin.goto(base)
    admin.wait_for_selector("body[data-ready]")
    assert admin.url == f"{base}/login"
    assert "P0" not in admin.content()
    found = violations(admin)
    admin.fill("#name", "anna")
    admin.fill("#password", "not the right password")
    admin.locator("#known button").click()
    expect(admin.locator("#message")).to_contain_text("The name or the password is not right")
    admin.locator("#first summary").click()
    found += violations(admin)
    admin.locator("#first summary").click()
    enrol(admin, "anna", first_code)
    expect(admin.locator("#reader")).to_contain_text("anna reads at Riverside")

    # The page of accounts, with an account whose name is markup although no way in takes one.
    book, accounts = accounts_of(node)
    with book.writing() as database:
        database.execute("INSERT INTO account (folded, name, role, made) VALUES ('evil', ?, 'reader', 0)", (EVIL,))
    admin.click("a[href='/accounts']")
    admin.wait_for_selector("body[data-ready]")
    expect(admin.locator("#rows tr")).to_have_count(2)
    expect(admin.locator("#rows td").filter(has_text="onerror").first).to_have_text(EVIL)
    assert admin.evaluate("document.querySelectorAll('img').length") == 0
    admin.fill("#add #name", "张伟")
    admin.locator("#add button").click()
    code = admin.locator("#given output").inner_text()
    found += violations(admin)

    # The new reader, in Chinese.
    readers, reader, reader_saw = opened(browser, base, "zh-CN")
    reader.goto(f"{base}/accounts")
    reader.wait_for_selector("body[data-ready]")
    expect(reader.locator("h1")).to_have_text("登录")
    enrol(reader, "张伟", code)
    expect(reader.locator("#reader")).to_contain_text("张伟 在 Riverside 阅片")
    cookies = {one["name"]: one for one in readers.cookies()}
    assert all(one["httpOnly"] and one["secure"] and one["sameSite"] == "Strict" for one in cookies.values())
    assert reader.evaluate("document.cookie") == ""
    reader.click("a[href='/accounts']")
    reader.wait_for_selector("body[data-ready]")
    expect(reader.locator("#own")).to_be_visible()
    expect(reader.locator("#all")).to_be_hidden()
    found += violations(reader)
    reader.select_option("#language", "zh")
    reader.goto(base)
    reader.wait_for_selector("#rows a")
    expect(reader.locator("#rows a").first).to_have_text(EVIL)
    reader.locator("#rows a").first.click()
    expect(reader.locator("#current canvas.image")).to_have_attribute("data-ready", "true")
    reader.keyboard.press("y")
    expect(reader.locator("#saved")).to_have_attribute("data-state", "saved")

    # Put out by the admin while a study is open: nothing more is shown or stored, and nothing said is lost.
    admin.reload()
    admin.wait_for_selector("body[data-ready]")
    row = admin.locator("tr[data-name='张伟']")
    row.get_by_role("button", name="Sign out everywhere").click()
    expect(row.locator("td").nth(3)).to_have_text("0")
    reader.keyboard.press("n")
    expect(reader.locator("#saved")).to_have_attribute("data-state", "waiting")
    expect(reader.locator("#saved a")).to_have_text("登录")
    found += [one["id"] for one in Axe().run(reader).response["violations"]]
    again = readers.new_page()
    reader_saw += watched(again, base)
    again.goto(base)
    again.wait_for_selector("body[data-ready]")
    assert again.url == f"{base}/login"
    again.fill("#name", "张伟")
    again.fill("#password", PASSWORD)
    again.locator("#known button").click()
    again.wait_for_url(f"{base}/")
    again.wait_for_selector("body[data-ready]")
    expect(reader.locator("#saved")).to_have_attribute("data-state", "saved")
    (said,) = {one.reader: one for one in node.store.current_annotations().values()}.values()
    assert (said.reader, dict(said.states)["nodule"]) == ("张伟", "absent")

    # Shut out by a command of another process: the next page is the sign-in, which stays shut.
    accounts.disable("张伟", "it")
    book.close()
    again.reload()
    again.wait_for_url(f"{base}/login")
    again.wait_for_selector("body[data-ready]")
    again.fill("#name", "张伟")
    again.fill("#password", PASSWORD)
    again.locator("#known button").click()
    expect(again.locator("#message")).to_contain_text("姓名或密码不正确")
    admins.close()
    readers.close()
    assert found == []
    assert admin_saw == []
    assert reader_saw == []


def test_a_page_of_another_origin_neither_signs_in_nor_reads(browser: Browser, base: str) -> None:
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.route(
        "https://evil.example/", lambda route: route.fulfill(content_type="text/html", body="<h1>Elsewhere</h1>")
    )
    page.goto("https://evil.example/")
    outcome = page.evaluate(
        """async (base) => {
          const tried = [];
          for (const [path, options] of [
            ["/api/door", {credentials: "include"}],
            ["/api/sign-in", {method: "POST", credentials: "include", body: '{"name": "anna", "password": "x"}'}],
            ["/api/sign-in", {method: "POST", credentials: "include", mode: "no-cors", body: "{}"}],
          ]) {
            try {
              const answer = await fetch(base + path, options);
              tried.push(answer.type === "opaque" ? "opaque" : answer.status);
            } catch (fault) {
              tried.push("stopped");
            }
          }
          return tried;
        }""",
        base,
    )
    assert set(outcome) <= {"stopped", "opaque", 403}
    assert "stopped" in outcome
    assert context.cookies(base) == []
    context.close()
