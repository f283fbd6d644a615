"""What the service does about runs that end, are cut off, or lost their quorum, with a SuperLink that is played."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import cast

import pytest
from hospitals import make_plan, make_release

from medquorum.privacy.aggregation import Purpose
from medquorum.server.errors import BusyError, QuorumError, RunError
from medquorum.server.network import requests
from medquorum.server.network import service as module
from medquorum.server.network.errors import NetworkError
from medquorum.server.network.journal import Journal, Reader
from medquorum.server.network.requests import Request, note_end
from medquorum.server.network.service import Address, Service
from medquorum.server.network.serving import is_served, serving
from medquorum.server.network.superlink import SuperLink
from medquorum.server.outcome import Missing
from medquorum.server.progress import AttemptFailed, SiteAnswered, SiteMissing
from medquorum.server.run_folder import Settings


class PlayedLink:
    """Counts what it is asked to start and to stop."""

    def __init__(self) -> None:
        self.started: list[Path] = []
        self.stopped: list[int] = []
        self.over: str | None = None

    def start_run(self, directory: Path) -> int:
        self.started.append(directory)
        return len(self.started)

    def stop_run(self, run: int) -> None:
        self.stopped.append(run)

    def run_is_over(self, run: int) -> str | None:
        return self.over


@pytest.fixture
def asked(tmp_path: Path) -> Request:
    release = make_release()
    plan = make_plan(release, {"east": 10, "north": 10, "south": 10}, evaluation=None)
    return requests.ask_for(tmp_path, "run", plan, release, Settings())


@pytest.fixture
def desk(tmp_path: Path, asked: Request, monkeypatch: pytest.MonkeyPatch) -> Desk:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return Desk(Service(tmp_path, Address("127.0.0.1", 1, ())), PlayedLink(), asked.folder, now)


class Desk:
    """A service looking at one run."""

    def __init__(self, service: Service, link: PlayedLink, folder: Path, now: list[float]) -> None:
        self.service, self.link, self.folder, self.now = service, link, folder, now

    def look(self, later: float = 0.0) -> str:
        """Let it look once; the run's state after it."""
        self.now[0] += later
        request = requests.read(self.folder)
        self.service._attend(cast(SuperLink, self.link), request)  # pyright: ignore[reportPrivateUsage]
        return requests.read(self.folder).state

    def work(self) -> None:
        """The run's process takes it up, is seen at it, and ends."""
        with (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert self.look() == "running"


def test_a_process_that_died_is_noticed_at_once_and_the_run_goes_on(desk: Desk) -> None:
    assert desk.look() == "running" and len(desk.link.started) == 1
    assert desk.look() == "running" and len(desk.link.started) == 1
    desk.work()
    desk.look()
    assert desk.link.stopped == [1]
    assert len(desk.link.started) == 1, "not at once: it might die again and again"
    desk.look(later=2.0)
    assert len(desk.link.started) == 2


def test_pauses_grow_while_nothing_is_gained(desk: Desk) -> None:
    pauses: list[float] = []
    desk.look()
    for _ in range(9):
        desk.work()
        desk.look()
        begun, known = desk.now[0], len(desk.link.started)
        while len(desk.link.started) == known:
            desk.look(later=0.5)
        pauses.append(desk.now[0] - begun)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 120.0, 120.0]
    desk.work()
    (desk.folder / "checkpoint.cbor").write_bytes(b"further")
    desk.look()
    desk.look(later=1.0)
    assert len(desk.link.started) == 11, "a run that got further is tried again soon"


def test_a_quorum_that_may_come_back_is_waited_for_and_a_refused_one_is_not(desk: Desk) -> None:
    desk.look()
    lost = QuorumError("too few answered")
    lost.curable = True
    note_end(desk.folder, lost)
    desk.work()
    assert desk.look() == "waiting"
    assert desk.look(later=2.0) == "running"
    note_end(desk.folder, QuorumError("too many refused"))
    desk.work()
    assert desk.look() == "stopped"
    assert desk.look(later=1000.0) == "stopped"
    assert "too many refused" in requests.read(desk.folder).detail


def test_another_process_at_work_leaves_no_word_and_other_faults_stop_the_run(desk: Desk) -> None:
    note_end(desk.folder, BusyError("another process has it"))
    assert requests.end_of(desk.folder) is None
    desk.look()
    note_end(desk.folder, RunError("the folder is damaged"))
    desk.link.over = "failed"
    assert desk.look() == "stopped"


def test_a_finished_run_is_left_alone(desk: Desk) -> None:
    desk.look()
    desk.work()
    (desk.folder / "final").mkdir()
    assert desk.look() == "finished"
    assert desk.look(later=1000.0) == "finished" and len(desk.link.started) == 1


def test_one_service_serves_a_folder(tmp_path: Path) -> None:
    assert not is_served(tmp_path)
    with serving(tmp_path):
        assert is_served(tmp_path)
        with pytest.raises(NetworkError, match="another service"), serving(tmp_path):
            pass
    assert not is_served(tmp_path)


def test_the_journal_is_read_line_by_line_as_it_grows(tmp_path: Path) -> None:
    purpose: Purpose = "update"
    journal, reader = Journal(tmp_path), Reader(tmp_path)
    assert reader.new() == []
    journal(SiteMissing(Missing("east", "its budget is spent", True)))
    journal(SiteAnswered("east", purpose, 1))
    assert reader.new() == ["east refused: its budget is spent"]
    journal(AttemptFailed(purpose, 2, 1, "too few"))
    with (tmp_path / "journal.jsonl").open("a") as stream:
        stream.write('{"half a li')
    assert reader.new() == ["round 2: update, attempt 1 opened no sum: too few"]
    assert reader.new() == []
