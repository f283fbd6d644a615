"""report.html: one file that asks for nothing, runs nothing, and says what it must."""

from __future__ import annotations

import base64
import dataclasses
import io
from html.parser import HTMLParser

import pytest
from PIL import Image

from medquorum.simulations.errors import StudyError
from medquorum.simulations.report import Report, load, write
from medquorum.simulations.report.page import render
from medquorum.simulations.report.plots import PLOTS, overlay

HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(2)> & {{ 7 * 7 }} $x$'


class Elements(HTMLParser):
    """Every element with its attributes, and all text outside style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in_style = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in_style = tag == "style"

    def handle_endtag(self, tag):
        self._in_style = False

    def handle_data(self, data):
        self.text += "" if self._in_style else data


@pytest.fixture(scope="module")
def blank_plots():
    target = io.BytesIO()
    Image.new("RGB", (144, 144)).save(target, "PNG")
    return {plot.name: target.getvalue() for plot in PLOTS}


@pytest.fixture
def page(make_result, blank_plots):
    def build(**changes):
        result = dataclasses.replace(make_result(), **changes)
        return Elements(render(Report(result, "medquorum demo --seed 7"), blank_plots))

    return build


def test_the_page_asks_for_nothing_and_runs_nothing(page):
    elements = page().elements
    assert {"script", "link", "iframe", "object", "form", "base"}.isdisjoint(tag for tag, _ in elements)
    for _, attributes in elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "action", "style"):
            assert attributes.get(name, "data:").startswith("data:image/png;base64,") or name not in attributes
    policy = [attributes["content"] for tag, attributes in elements if attributes.get("http-equiv")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_every_picture_is_a_png_and_has_words_for_those_who_do_not_see_it(page, make_result):
    pictures = [attributes for tag, attributes in page().elements if tag == "img"]
    assert len(pictures) == len(PLOTS) - 1 + 3 * len(make_result().sheet)
    for picture in pictures:
        data = base64.b64decode(picture["src"].removeprefix("data:image/png;base64,"))
        assert Image.open(io.BytesIO(data)).format == "PNG"
        assert len(picture["alt"]) > 10


def test_names_are_text_and_never_markup(page, make_result):
    plain = page()
    result = make_result()
    site = dataclasses.replace(result.sites[0], name=HOSTILE, quarantined=((HOSTILE, HOSTILE),))
    hostile = page(
        study=HOSTILE,
        findings=(HOSTILE, "nodule"),
        sites=(site, *result.sites[1:]),
        sheet=tuple(dataclasses.replace(image, source=HOSTILE, finding=HOSTILE) for image in result.sheet),
        warnings=(HOSTILE,),
        model=HOSTILE,
        versions=((HOSTILE, HOSTILE),),
    )
    assert [tag for tag, _ in hostile.elements if tag in ("script", "img")] == [
        tag for tag, _ in plain.elements if tag in ("script", "img")
    ]
    assert hostile.text.count(HOSTILE) >= 8


def test_what_must_be_said_is_said_when_it_is_so(page):
    said = page().text
    assert "phantoms" in said and "summed in the clear" in said and "not a medical device" in said
    assert "Harbour in round 3" in said and "2 × not a DICOM file" in said and "medquorum demo --seed 7" in said
    other = page(synthetic=False, aggregation="secure", mode="none").text
    assert "phantoms" not in other and "summed in the clear" not in other
    assert "no differential privacy" in other and "not a medical device" in other


def test_results_without_figures_still_make_a_page(page, make_result):
    said = page(
        auroc_before=None, federated=None, pooled=None, calibration=(), rounds=(), sheet=(), warnings=(), versions=()
    ).text
    assert "cannot be measured" in said
    result = make_result(1)
    bare = dataclasses.replace(
        result.sites[0], auroc_before=None, auroc_after=None, auroc_alone=None, auroc_alone_everywhere=None
    )
    assert "–" in page(sites=(bare,)).text


def test_the_report_is_written_whole_and_the_same_each_time(make_result, tmp_path):
    whole = make_result(2)
    report = Report(dataclasses.replace(whole, sheet=whole.sheet[:2]), "medquorum demo")
    first, second = write(report, tmp_path / "one"), write(report, tmp_path / "two")
    assert load(first.json) == report
    assert {path.stem for path in first.plots} == {plot.name for plot in PLOTS}
    for one, two in zip((first.json, first.html, *first.plots), (second.json, second.html, *second.plots), strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_a_sheet_that_holds_no_pictures_is_refused(make_result, blank_plots):
    result = make_result()
    for broken in (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n"):
        sheet = (dataclasses.replace(result.sheet[0], image=broken),)
        with pytest.raises(StudyError):
            render(Report(dataclasses.replace(result, sheet=sheet), ""), blank_plots)
        with pytest.raises(StudyError):
            overlay.pictures(sheet[0])
