"""What is erased is gone, from the database file as well, and the chain of events still verifies."""

from __future__ import annotations

from pathlib import Path

import pytest
from closed_stores import PLAN, Image, asset_files, decrypted_pages, filled, on_database
from sqlalchemy import text

from medquorum.client.errors import StoreError
from medquorum.client.store import Store


def test_an_erased_patient_is_gone_and_the_chain_still_verifies(tmp_path: Path, image: Image) -> None:
    folder = filled(tmp_path / "s", image)
    with Store.open(folder) as store:
        head = store.head()
        gone, *others = store.patients()
        instance = store.instances(patient=gone.id)[0].id
        annotation = store.history(instance)[0].id
        erased = store.erase(gone.id)
        # import, proposal, annotation, consent
        assert (erased.patient, erased.instances, erased.events) == (gone.id, 1, 4)
        assert store.verify(head) == erased.head == store.head()
    with Store.open(folder) as store:
        store.verify(erased.head)
        assert [row.id for row in store.patients()] == [row.id for row in others]
        assert len(store.instances()) == len(store.current_annotations()) == len(store.proposals("aa")) == 2
        assert len(asset_files(folder)) == 2 + 1
        assert store.find(image(0).sop_uid) is None
        assert store.find_patient("HOSPITAL", "PATIENT0") is None
        assert {record.patient for record in store.frozen(PLAN)} == {row.id for row in others}
        assert store.history(instance) == []
        assert store.cache_get(instance, "ready") is None
        for ask in (lambda: store.content(instance), lambda: store.annotations([annotation])):
            with pytest.raises(StoreError):
                ask()
        with pytest.raises(StoreError, match="has been erased"):
            store.erase(gone.id)
        again = store.add(image(0))
        assert again.new
        assert again.patient != gone.id


def test_erasure_leaves_no_trace_of_the_key_or_the_identifiers_in_the_file(tmp_path: Path, image: Image) -> None:
    folder = filled(tmp_path / "s", image)
    with Store.open(folder) as store:
        patient = store.patients()[0].id
    rows = on_database(
        folder,
        lambda c: c.execute(
            text(
                "SELECT wrapped_key, blind, sealed FROM patients JOIN identifiers ON patient = id WHERE id = :p "
                "UNION ALL SELECT wrapped_key, blind, i.sealed FROM patients JOIN instances i ON patient = patients.id "
                "WHERE patients.id = :p"
            ),
            {"p": patient},
        ).all(),
    )
    secrets = [value for row in rows for value in row]
    assert len(secrets) == 6
    assert all(value in decrypted_pages(folder) for value in secrets)
    with Store.open(folder) as store:
        store.erase(patient)
        assert not any(value in decrypted_pages(folder) for value in secrets)


def test_erasing_a_merged_patient_erases_all_of_them(store: Store, image: Image) -> None:
    one, other = store.add(image(1)), store.add(image(2))
    store.merge(one.patient, other.patient)
    assert store.erase(other.patient).instances == 2
    assert (store.count(), store.patients()) == (0, [])
    store.verify()
