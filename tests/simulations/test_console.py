"""The terminal: progress as lines where nobody watches a bar, a table that is never cut, names never as markup."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from medquorum.simulations import console
from medquorum.simulations.progress import StageAdvanced, StageFinished, StageStarted


def printed(result, width):
    target = io.StringIO()
    console.summary(result, Console(file=target, width=width))
    return target.getvalue()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("sites", [1, 4, 10])
def test_the_table_holds_every_figure_at_every_width(make_result, sites, width):
    result = make_result(sites)
    shown = printed(result, width)
    assert "…" not in shown
    assert max(len(line) for line in shown.splitlines()) <= width
    for said in (
        "0.49 → 0.90",
        "0.85–0.94",
        "0.62",
        "0.53–0.69",
        "48\xa0%",
        "vs 23\xa0%",
        "7.20",
        "of 8",
        "1.2\xa0MB",
        "(130)",
    ):
        assert said in shown
    for must in ("phantoms", "summed in the clear", "not a medical device", "Warning:"):
        assert must in shown
    assert ("Quarantined at Northern Light: 2\xa0files, not a DICOM file." in shown) == (sites > 1)


def test_names_are_never_markup(make_result):
    result = make_result(2)
    named = dataclasses.replace(result.sites[0], name="[red]a[/]", quarantined=(("[b]", "[link=x]bad[/link]"),))
    shown = printed(dataclasses.replace(result, sites=(named, result.sites[1]), warnings=("[/] [blink]",)), 120)
    assert "[red]a[/]" in shown and "[link=x]bad[/link]" in shown and "[/] [blink]" in shown


def test_a_stream_that_is_no_terminal_gets_lines_and_no_control_codes():
    stream = io.StringIO()
    with console.watching(stream) as progress:
        progress(StageStarted("Import [images]", 1200))
        for done in range(1200):
            progress(StageAdvanced("Import [images]", done))
        progress(StageFinished("Import [images]", 3.21))
        progress(StageStarted("Plan", 0))
        progress(StageFinished("Plan", 0.1))
    assert stream.getvalue() == (
        "Import [images] (0 of 1,200) ...\nImport [images]: done in 3.2\xa0s\nPlan ...\nPlan: done in 0.1\xa0s\n"
    )


def test_a_long_stage_speaks_now_and_then_and_foretells_its_end():
    times = iter([0.0, 1.0, 11.0, 12.0, 22.0])
    said: list[str] = []
    lines = console._Lines(said.append, lambda: next(times))
    lines(StageStarted("Train", 40))
    for done in (1, 10, 11, 20):
        lines(StageAdvanced("Train", done))
    assert said[1:] == ["Train: 10 of 40, about 33\xa0s left", "Train: 20 of 40, about 22\xa0s left"]


def test_a_terminal_gets_a_bar_with_the_time_left_and_a_line_for_each_finished_stage(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    with console.watching(stream) as progress:
        for stage, total in (("Import [images]", 4), ("Plan", 0)):
            progress(StageStarted(stage, total))
            progress(StageAdvanced(stage, 1))
            progress(StageAdvanced(stage, 2))
            progress._bars.refresh()
            progress(StageFinished(stage, 1.0))
    shown = stream.getvalue()
    assert "✓" in shown and "Import [images]" in shown and "Plan" in shown
    assert "2/4" in shown and "left" in shown and "?" not in shown.replace("\x1b[?25", "")


def test_commands_to_type_next_stay_on_one_line():
    target = io.StringIO()
    command = "medquorum simulate run " + "deep/" * 40 + "study.toml"
    console.next_steps([("Again", command)], Console(file=target, width=60))
    assert command in target.getvalue()
