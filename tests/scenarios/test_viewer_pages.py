"""The viewer in a real browser: films, slices, mammograms, pixels to the bit, and what may go wrong while one reads."""

from __future__ import annotations

import base64
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsers import watched
from dicom_files import dataset, dicom, written
from hospitals import make_release
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, expect

from medquorum.client.annotations import Annotation, Box
from medquorum.client.deidentify import Original
from medquorum.client.desk.frames import read_frame, window_table
from medquorum.client.desk.serving import DeskServer
from medquorum.client.desk.timeline import replay
from medquorum.client.node import Node
from medquorum.client.propose import propose
from medquorum.client.store import NewInstance

pytestmark = pytest.mark.slow

FRAMES, SLICES = 40, 12
SIDE = 96
DRAW = np.random.default_rng(4)
MOVING = DRAW.integers(0, 4096, (FRAMES, SIDE, SIDE)).astype(np.uint16)
LARGE = DRAW.integers(0, 65536, (2500, 2000)).astype(np.uint16)
WINDOW = {"WindowCenter": "2000", "WindowWidth": "3000"}
# The views of a mammogram as they arrive: view, side, and where the right and lower edges of the picture lie.
# The last is stored the other way round than it is hung.
VIEWS = (("CC", "L", ["A", "R"]), ("MLO", "L", ["A", "F"]), ("CC", "R", ["P", "L"]), ("MLO", "R", ["A", "F"]))


def film() -> bytes:
    """A file of forty frames."""
    made = dataset(MOVING[0], 1, NumberOfFrames=FRAMES, CineRate=20, PatientOrientation=["L", "F"], **WINDOW)
    made.PixelData = MOVING.astype("<u2").tobytes()
    return written(made)


def images() -> list[NewInstance]:
    """A film, a series of slices that arrives in disorder, a mammogram, a large radiograph, and plain studies."""
    found: list[NewInstance] = []

    def add(
        study: int, name: str, modality: str, view: str, side: str, frames: int, content: bytes, **more: Any
    ) -> None:
        number = len(found)
        uids = f"1.7.{study}", f"1.7.{study}.1", f"1.7.{study}.1.{number}"
        size = (2500, 2000) if name == "Large" else (SIDE, SIDE)
        made = NewInstance(
            "H",
            name,
            *uids,
            modality,
            "CHEST",
            view,
            side,
            *size,
            frames,
            f"202601{study:02}",
            f"{number}.dcm",
            "dicom",
            content,
        )  # pyright: ignore[reportArgumentType]
        found.append(replace(made, **more))

    add(1, "Film", "DX", "PA", "", FRAMES, film())
    for place in DRAW.permutation(SLICES):
        pixels = np.full((SIDE, SIDE), 300 * (int(place) + 1), np.uint16)
        pixels[0, 0], pixels[-1, -1] = 0, 4000
        content = dicom(pixels, 100 + int(place), Modality="CT", ImageOrientationPatient=[1, 0, 0, 0, 1, 0], **WINDOW)
        original = Original(series_number="2", instance_number=str(place + 1))
        add(2, "Slices", "CT", "", "", 1, content, original=original)
    for number, (view, side, way) in enumerate(VIEWS):
        content = dicom(MOVING[number], 200 + number, Modality="MG", PatientOrientation=way, **WINDOW)
        add(3, "Breast", "MG", view, side, 1, content)
    add(4, "Large", "DX", "PA", "", 1, dicom(LARGE, 300, WindowCenter="30000", WindowWidth="50000"))
    for number in range(6):
        add(5 + number, f"Plain{number}", "DX", "PA", "", 1, dicom(MOVING[number], 400 + number, **WINDOW))
    add(12, "Film", "DX", "PA", "", FRAMES, film())
    return found


@pytest.fixture
def node(tmp_path: Path) -> Generator[Node, None, None]:
    """A node with these studies, proposed."""
    with Node.create(tmp_path / "node", "A", held_out_share=0.0) as made:
        release = make_release()
        made.releases.adopt(release)
        for outcome in made.store.add_many(images()):
            assert not isinstance(outcome, Exception)
        propose(made.store, release)
        yield made


@contextmanager
def reading(browser: Browser, node: Node) -> Generator[Page, None, None]:
    """A page inside, on the worklist; nothing may go wrong on it and no request may leave its origin."""
    server = DeskServer(node.store, node.releases, node.folder, "anna", 0)
    server.prepare()
    server.start()
    context = browser.new_context(locale="en-GB", viewport={"width": 1400, "height": 900})
    try:
        page = context.new_page()
        seen = watched(page)
        page.goto(server.address())
        page.goto(f"http://127.0.0.1:{server.port}/?order=arrival&show=all")
        page.wait_for_selector("body[data-ready]")
        yield page
        assert seen == []
    finally:
        context.close()
        server.stop()


@pytest.fixture
def page(browser: Browser, node: Node) -> Generator[Page, None, None]:
    """A page of a reader called anna."""
    with reading(browser, node) as found:
        yield found


def open_study(page: Page, name: str) -> None:
    """Open a patient's study from the worklist and wait for its image."""
    page.locator("#rows a", has_text=name).first.click()
    shown(page)


def shown(page: Page, which: str = "#current") -> None:
    """Wait until an image is on a canvas."""
    expect(page.locator(f"{which} canvas.image")).to_have_attribute("data-ready", "true")


def canvas(page: Page, which: str = "#current") -> tuple[NDArray[np.uint8], int, int]:
    """The grey of a canvas at 1:1, and the column and row of the image in its left upper corner."""
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
    assert zoom == 1.0
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)[..., 0], int(x), int(y)


def visible(page: Page, rows: int = SIDE, columns: int = SIDE, which: str = "#current") -> NDArray[np.uint8]:
    """What of the image is on a canvas at 1:1."""
    found, x, y = canvas(page, which)
    return found[max(0, -y) : max(0, rows - y), max(0, -x) : max(0, columns - x)]


def stated(pixels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """What numpy makes of stored values under the file's own window."""
    frame = read_frame(dicom(pixels, 1, **WINDOW), "dicom", 0)
    return np.floor(frame.shown * 255.0 + 0.5).astype(np.uint8)[pixels.astype(int) - frame.low]


def saved(page: Page) -> None:
    """Wait until the page says that everything is stored."""
    expect(page.locator("#saved")).to_have_attribute("data-state", "saved")


def middle(page: Page, which: str = "#current") -> tuple[float, float]:
    """The middle of a canvas."""
    box = page.locator(f"{which} canvas.over").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


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


def plain(node: Node, number: int) -> str:
    """The image of a plain study."""
    return [row.id for row in node.store.instances() if row.modality == "DX"][2 + number]


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
        found, left, top = canvas(page)
        table = window_table(frame, 30_000 + 29 * step * 125.0, 50_000 - 41 * step * 125.0)
        part = LARGE[top : top + found.shape[0], left : left + found.shape[1]]
        assert part.size > 500_000
        assert np.array_equal(found, table[part.astype(int) - frame.low])
    page.mouse.up()


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
