"""From the spool into the store: once, whatever interrupts, and whoever has the store open."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from modalities import HOME, image, names, sending

from medquorum.client.gate import Gate
from medquorum.client.intake.drain import Draining, drain
from medquorum.client.intake.receiver import Receiver
from medquorum.client.spool import Spool
from medquorum.client.store import Store


def test_what_waits_is_taken_in_once_whatever_interrupts(store: Store, gate: Gate, spool: Spool) -> None:
    with Receiver(spool, HOME) as receiver, sending(receiver) as association:
        for number in (1, 2):
            assert association.send_c_store(image(number)).Status == 0
    entries = spool.waiting()
    contents = [spool.read(entry) for entry in entries]
    assert (drain(store, spool, gate).imported, spool.waiting()) == (2, [])
    for spooled in contents:  # as if the process had died after storing and before forgetting the entries
        spool.put(spooled.source, spooled.content)
    report = drain(store, spool, gate)
    assert (report.imported, report.duplicates, store.count(), spool.waiting()) == (0, 2, 2, [])


def test_a_damaged_entry_is_quarantined_and_the_others_go_on(
    store: Store, gate: Gate, spool: Spool, tmp_path: Path
) -> None:
    first = spool.put("first", b"not DICOM at all")
    path = tmp_path / "spool" / f"{first}.entry"
    sealed = bytearray(path.read_bytes())
    sealed[-1] ^= 1
    path.write_bytes(sealed)
    spool.put("second", b"not DICOM either")
    report = drain(store, spool, gate)
    assert {item.code for item in report.quarantined} == {"unreadable-file", "not-dicom"}
    assert spool.waiting() == [] and names(tmp_path / "spool") == [".damaged"]


def test_a_full_store_leaves_everything_in_the_spool(
    store: Store, gate: Gate, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medquorum.client.errors import StoreError

    with Receiver(spool, HOME) as receiver, sending(receiver) as association:
        assert association.send_c_store(image()).Status == 0

    def refuse(new: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(store, "add_many", refuse)
        with pytest.raises(StoreError, match="full"):
            drain(store, spool, gate)
    assert len(spool.waiting()) == 1 and store.count() == 0
    assert drain(store, spool, gate).imported == 1


def test_an_unexpected_fault_does_not_end_the_draining(
    store: Store, gate: Gate, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.put("somewhere", b"not DICOM")
    calls = [0]
    settled = threading.Event()

    def failing(waiting: Spool) -> list[str]:
        calls[0] += 1
        if calls[0] == 1:
            raise RuntimeError("a fault of ours")
        return Spool.waiting(waiting)

    monkeypatch.setattr(spool, "waiting", lambda: failing(spool))
    with Draining(store, spool, gate, lambda _: settled.set()):
        assert settled.wait(20)
    assert calls[0] > 1
    assert [row.code for row in store.quarantined()] == ["not-dicom"]


def test_a_process_without_the_store_waits_until_it_is_free(tmp_path: Path, gate: Gate, spool: Spool) -> None:
    with Receiver(spool, HOME) as receiver, sending(receiver) as association:
        assert association.send_c_store(image()).Status == 0
    elsewhere = Store.create(tmp_path / "store", "hospital-a")
    settled = threading.Event()
    with Draining(lambda: Store.open(tmp_path / "store"), spool, gate, lambda _: settled.set()):
        assert not settled.wait(1.5)
        assert len(spool.waiting()) == 1
        elsewhere.close()
        assert settled.wait(20)
    with Store.open(tmp_path / "store") as store:
        assert store.count() == 1
