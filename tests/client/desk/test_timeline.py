"""Undo and redo as replay of events that are only ever appended."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from medquorum.client.annotations import Annotation, new_id
from medquorum.client.desk.timeline import NOTHING, Timeline, replay

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def event(line: Timeline, state: str = "present", restates: str | None = None) -> Annotation:
    """The next event after a timeline."""
    last = None if line.last is None else line.last.id
    states = (("nodule", state),)
    return Annotation(new_id(), "i", 0, "r", NOW, None, None, states, (), 1, 1.0, last, "", restates)  # pyright: ignore[reportArgumentType]


MOVES = st.lists(st.sampled_from(["present", "absent", "uncertain", "undo", "redo"]), max_size=60)


@given(MOVES)
def test_undo_and_redo_behave_as_two_stacks_would(moves: list[str]) -> None:
    events: list[Annotation] = []
    done: list[str] = []
    undone: list[str] = []
    for move in moves:
        line = replay(events)
        if move == "undo":
            assert (line.undo is None) == (not done)
            if done:
                undone.append(done.pop())
                events.append(event(line, restates=line.undo))
        elif move == "redo":
            assert (line.redo is None) == (not undone)
            if undone:
                done.append(undone.pop())
                events.append(event(line, restates=line.redo))
        else:
            done.append(move)
            undone.clear()
            events.append(event(line, move))
        now = replay(events)
        assert [one.states[0][1] for one in now.said[: now.at]] == done
        assert (now.current is None) == (not done)


@given(MOVES)
def test_every_event_supersedes_the_one_before(moves: list[str]) -> None:
    line = Timeline()
    for move in moves:
        wanted = {"undo": line.undo, "redo": line.redo}.get(move)
        if move in ("undo", "redo") and wanted is None:
            continue
        before = line.last
        line = line.after(event(line, "absent" if wanted is not None else move, wanted))
        assert line.last is not None
        assert line.last.supersedes == (None if before is None else before.id)


def test_undo_reaches_the_beginning_and_redo_the_end_again() -> None:
    line = Timeline()
    for _ in range(200):
        line = line.after(event(line))
    for _ in range(200):
        line = line.after(event(line, restates=line.undo))
    assert line.current is None
    assert line.last is not None
    assert line.last.restates == NOTHING
    for _ in range(200):
        line = line.after(event(line, restates=line.redo))
    assert line.at == 200
    assert line.redo is None


def test_restating_what_was_cut_off_counts_as_a_new_statement() -> None:
    line = Timeline()
    first = event(line)
    line = line.after(first)
    gone = event(line, "absent")
    line = line.after(gone)
    line = line.after(event(line, restates=first.id))
    line = line.after(event(line, "uncertain"))
    assert line.place(gone.id) is None
    line = line.after(event(line, "absent", gone.id))
    assert [one.states[0][1] for one in line.said] == ["present", "uncertain", "absent"]
