"""The store keeps images, proposals and annotations, finds them again, and freezes what a plan may train on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medquorum.client.annotations import Annotation, Box, Mask, Proposal, Region, State, new_id
from medquorum.client.entering import UnreadError
from medquorum.client.errors import AnnotationError, ConflictError, StoreError
from medquorum.client.store import NewInstance, Store, Stored

Image = Callable[..., NewInstance]
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PLAN = b"\x01" * 32


def proposed(instance: str, release: str = "aa", frame: int = 0, **changes: Any) -> Proposal:
    fields: dict[str, Any] = {
        "id": new_id(),
        "instance": instance,
        "frame": frame,
        "release": release,
        "applicable": True,
        "reason": "",
        "probabilities": (("pneumonia", 0.75),),
        "regions": (),
        "at": NOW,
    }
    return Proposal(**(fields | changes))


def read(instance: str, state: State = "present", frame: int = 0, **changes: Any) -> Annotation:
    fields: dict[str, Any] = {
        "id": new_id(),
        "instance": instance,
        "frame": frame,
        "reader": "dr b",
        "at": NOW,
        "release": None,
        "proposal": None,
        "states": (("pneumonia", state),),
        "regions": (),
        "actions": 1,
        "seconds": 2.0,
        "supersedes": None,
    }
    return Annotation(**(fields | changes))


def added(store: Store, images: list[NewInstance]) -> list[Stored]:
    outcomes = store.add_many(images)
    assert all(isinstance(outcome, Stored) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Stored)]


# ---- images and patients


def test_an_image_comes_back_as_it_was_added(store: Store, image: Image) -> None:
    new = image(7, view="LL", laterality="L", content=bytes(range(256)) * 100)
    kept = store.add(new)
    assert kept.new
    row = store.instance(kept.instance)
    assert (row.sop_uid, row.source, row.patient) == (new.sop_uid, new.source, kept.patient)
    assert (row.modality, row.body_part, row.view, row.laterality) == ("DX", "CHEST", "LL", "L")
    assert (row.rows, row.columns, row.frames, row.encoding) == (40, 50, 2, "dicom")
    assert store.content(kept.instance) == new.content
    assert store.find(new.sop_uid) == row
    assert store.find("1.2.9") is None


def test_the_same_image_again_changes_nothing(store: Store, image: Image) -> None:
    first = store.add(image(1))
    head = store.head()
    assert store.add(image(1)) == Stored(first.instance, first.patient, new=False)
    assert store.add_many([image(1), image(1)])[1] == Stored(first.instance, first.patient, new=False)
    assert (store.count(), store.head()) == (1, head)


def test_one_uid_with_two_contents_is_a_conflict_and_hinders_nobody_else(store: Store, image: Image) -> None:
    store.add(image(1))
    other = image(1, content=b"other pixels", source="ward/again.dcm")
    with pytest.raises(ConflictError, match=r"ward/again\.dcm.*other content"):
        store.add(other)
    outcomes = store.add_many([image(2), other, image(3), image(3, content=b"twice in one batch")])
    assert [type(outcome) for outcome in outcomes] == [Stored, ConflictError, Stored, ConflictError]
    assert store.count() == 3
    assert store.content(store.instances()[0].id) == image(1).content


def test_one_image_under_two_patients_is_a_conflict(store: Store, image: Image) -> None:
    store.add(image(1))
    with pytest.raises(ConflictError, match="under another patient"):
        store.add(image(1, patient_id="SOMEBODY ELSE"))
    assert len(store.patients()) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"patient_id": "  "}, "no patient"), ({"sop_uid": ""}, "no SOP"), ({"frames": 0}, "0 frames")],
)
def test_an_image_that_cannot_be_placed_is_refused(
    store: Store, image: Image, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(StoreError, match=says):
        store.add(image(1, **changes))


def test_one_identifier_under_two_issuers_is_two_patients(store: Store, image: Image) -> None:
    here, there, again = added(
        store,
        [
            image(1, patient_id="12345", patient_issuer="ST ANNA"),
            image(2, patient_id="12345", patient_issuer="HARBOUR"),
            image(3, patient_id="12345 ", patient_issuer="ST ANNA"),
        ],
    )
    assert here.patient == again.patient != there.patient
    assert store.find_patient("HARBOUR", "12345") == there.patient
    assert store.find_patient("NOBODY", "12345") is None
    assert store.identities(there.patient) == [("HARBOUR", "12345")]


def test_a_study_that_mixes_patients_loses_nothing(store: Store, image: Image) -> None:
    first, second = added(store, [image(1, study_uid="1.9"), image(2, study_uid="1.9")])
    assert first.patient != second.patient
    assert [row.id for row in store.instances()] == [first.instance, second.instance]


def test_images_are_listed_in_order_of_arrival_and_by_filter(store: Store, image: Image) -> None:
    kept = added(store, [image(n, patient_id=f"P{n % 3}") for n in range(9)])
    store.set_held_out([kept[0].patient], True)
    assert [row.id for row in store.instances()] == [one.instance for one in kept]
    assert [row.id for row in store.instances(held_out=True)] == [kept[n].instance for n in (0, 3, 6)]
    assert [row.id for row in store.instances(patient=kept[1].patient)] == [kept[n].instance for n in (1, 4, 7)]
    assert [row.id for row in store.instances(ids=[kept[5].instance])] == [kept[5].instance]
    assert [(row.id, row.held_out, row.instances) for row in store.patients()] == [
        (kept[0].patient, True, 3),
        (kept[1].patient, False, 3),
        (kept[2].patient, False, 3),
    ]


def test_about_the_stated_share_of_patients_is_held_out_and_stays_so(tmp_path: Path, image: Image) -> None:
    with Store.create(tmp_path / "s", "a", held_out_share=0.25) as store:
        added(store, [image(n) for n in range(400)])
        held = {row.id for row in store.patients() if row.held_out}
    # 400 fair draws of chance 1/4: six standard deviations are 52.
    assert 48 <= len(held) <= 152
    with Store.open(tmp_path / "s") as store:
        assert {row.id for row in store.patients() if row.held_out} == held


def test_merged_patients_are_one(store: Store, image: Image) -> None:
    old, new = added(store, [image(1, patient_id="OLD"), image(2, patient_id="NEW")])
    store.set_held_out([new.patient], True)
    store.merge(old.patient, new.patient)
    assert [(row.id, row.instances) for row in store.patients()] == [(new.patient, 2)]
    assert {row.patient for row in store.instances()} == {new.patient}
    assert all(row.held_out for row in store.instances())
    assert store.add(image(3, patient_id="OLD")).patient == new.patient
    assert store.identities(new.patient) == [("HOSPITAL", "OLD"), ("HOSPITAL", "NEW")]
    assert store.content(old.instance) == image(1).content
    with pytest.raises(StoreError, match=new.patient):
        store.set_held_out([old.patient], False)
    with pytest.raises(StoreError, match="itself"):
        store.merge(new.patient, new.patient)


# ---- proposals and annotations


def test_proposals_are_kept_by_release_and_frame(store: Store, image: Image) -> None:
    kept = added(store, [image(n) for n in range(3)])
    mask = np.zeros((40, 50), np.bool_)
    mask[3:9, 30:44] = True
    regions = (Region("pneumonia", Mask.of(mask), "proposed"), Region("pneumonia", Box(0, 0, 50, 40), "proposed"))
    first = proposed(kept[0].instance, regions=regions)
    second = proposed(kept[0].instance, frame=1)
    unfit = proposed(kept[1].instance, applicable=False, reason="view LL, not PA", probabilities=())
    store.add_proposals([first, second, unfit])
    assert store.proposals("aa") == {kept[0].instance: first, kept[1].instance: unfit}
    assert store.proposals("aa", frame=1) == {kept[0].instance: second}
    assert store.proposals_of(kept[0].instance) == [first, second]
    assert [row.id for row in store.without_proposal("aa")] == [kept[2].instance]
    assert len(store.without_proposal("bb")) == 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frame": 2}, "frame 2 of an image of 2"),
        ({"regions": (Region("pneumonia", Box(0, 0, 51, 10), "proposed"),)}, "50 columns"),
        ({"regions": (Region("pneumonia", Mask.of(np.ones((50, 40), np.bool_)), "proposed"),)}, "mask of 50 x 40"),
    ],
)
def test_a_region_off_the_images_own_grid_is_refused(
    store: Store, image: Image, changes: dict[str, Any], says: str
) -> None:
    kept = store.add(image(1))
    with pytest.raises(AnnotationError, match=says):
        store.add_proposals([proposed(kept.instance), proposed(kept.instance, **changes)])
    with pytest.raises(AnnotationError, match=says):
        store.annotate(read(kept.instance, **changes))
    assert store.proposals("aa") == {}


def test_annotations_are_superseded_and_never_lost(store: Store, image: Image) -> None:
    kept = store.add(image(1))
    first = read(kept.instance, "present")
    second = read(kept.instance, "absent", supersedes=first.id)
    third = read(kept.instance, "uncertain", frame=1)
    store.annotate(first)
    store.annotate_many([second, third])
    assert store.current_annotations() == {(kept.instance, 0): second, (kept.instance, 1): third}
    assert store.history(kept.instance) == [first, second, third]
    assert store.annotations([second.id, first.id]) == {second.id: second, first.id: first}
    with pytest.raises(StoreError, match="no annotation"):
        store.annotations(["nothing"])


def test_of_two_readers_who_save_at_once_the_later_is_told(store: Store, image: Image) -> None:
    kept = store.add(image(1))
    first = read(kept.instance)
    store.annotate(first)
    mine = read(kept.instance, "absent", supersedes=first.id)
    theirs = read(kept.instance, "uncertain", supersedes=first.id)
    store.annotate(mine)
    with pytest.raises(ConflictError, match=mine.id):
        store.annotate(theirs)
    with pytest.raises(ConflictError, match="meanwhile"):
        store.annotate_many([read(kept.instance, supersedes=mine.id), read(kept.instance, supersedes=mine.id)])
    with pytest.raises(StoreError, match="not one of this frame"):
        store.annotate(read(kept.instance, frame=1, supersedes=mine.id))
    assert store.current_annotations()[kept.instance, 0] == mine
    assert len(store.history(kept.instance)) == 2


def test_independent_readings_stand_side_by_side_and_the_newest_counts(store: Store, image: Image) -> None:
    kept = store.add(image(1))
    one, other = read(kept.instance, reader="dr b"), read(kept.instance, "absent", reader="dr c")
    store.annotate_many([one, other])
    assert store.current_annotations() == {(kept.instance, 0): other}


def test_the_same_annotation_is_not_taken_twice(store: Store, image: Image) -> None:
    kept = store.add(image(1))
    first = read(kept.instance)
    store.annotate(first)
    with pytest.raises(ConflictError, match="already"):
        store.annotate(first)
    with pytest.raises(StoreError, match="no instance 'elsewhere'"):
        store.annotate(read("elsewhere"))


# ---- freezing


def test_a_plan_freezes_what_is_reviewed_eligible_and_not_held_out(store: Store, image: Image) -> None:
    kept = added(store, [image(n) for n in range(7)])
    said = {n: read(kept[n].instance) for n in range(6)}
    said[3] = read(kept[3].instance, "not_assessed")
    store.annotate_many(list(said.values()))
    store.set_held_out([kept[1].patient], True)
    store.consent(kept[2].patient, "opt_out", date(2026, 5, 1))
    store.consent(kept[4].patient, "opt_out", date(2026, 5, 2))
    store.consent(kept[5].patient, "opt_out", date(2026, 1, 1))
    store.consent(kept[5].patient, "consent", date(2026, 2, 1))
    with pytest.raises(UnreadError, match="1 of 6 patients whose turn has come"):
        store.freeze(PLAN, NOW)
    store.consent(kept[6].patient, "opt_out", date(2026, 1, 1))
    records = store.freeze(PLAN, NOW)
    assert [(r.instance, r.frame, r.patient, r.annotation) for r in records] == [
        (kept[n].instance, 0, kept[n].patient, said[n].id) for n in (0, 4, 5)
    ]
    assert store.frozen(PLAN) == records


def test_a_frozen_set_does_not_change(store: Store, image: Image) -> None:
    kept = added(store, [image(n) for n in range(4)])
    first = [read(one.instance) for one in kept[:3]]
    aside = read(kept[3].instance, "not_assessed")
    store.annotate_many([*first, aside])
    records = store.freeze(PLAN, NOW)
    store.annotate(read(kept[0].instance, "absent", supersedes=first[0].id))
    store.annotate(read(kept[3].instance, supersedes=aside.id))
    store.set_held_out([kept[1].patient], True)
    store.consent(kept[2].patient, "opt_out", date(2020, 1, 1))
    store.merge(kept[2].patient, kept[0].patient)
    assert store.freeze(PLAN, NOW + timedelta(days=9)) == records == store.frozen(PLAN)
    assert store.annotations([records[0].annotation])[first[0].id] == first[0]
    # Whoever opted out under one identifier has opted out under all of them.
    assert {record.instance for record in store.freeze(b"\x02" * 32, NOW)} == {kept[3].instance}
    store.verify()


def test_a_site_may_require_consent(tmp_path: Path, image: Image) -> None:
    with Store.create(tmp_path / "s", "a", 0.0, eligibility="consent") as store:
        kept = added(store, [image(n) for n in range(3)])
        store.annotate_many([read(one.instance) for one in kept])
        store.consent(kept[1].patient, "consent", date(2026, 5, 1))
        store.consent(kept[2].patient, "consent", date(2026, 5, 2))
        assert [record.patient for record in store.freeze(PLAN, NOW)] == [kept[1].patient]


def test_freezing_asks_for_a_plan_hash_and_a_utc_time(store: Store) -> None:
    with pytest.raises(StoreError, match="SHA-256"):
        store.freeze(b"short", NOW)
    with pytest.raises(AnnotationError, match="UTC"):
        store.freeze(PLAN, datetime(2026, 1, 1))
    with pytest.raises(StoreError, match="countersign"):
        store.frozen(PLAN)
    assert store.freeze(PLAN, NOW) == () == store.frozen(PLAN)


def test_a_consent_of_an_unknown_kind_or_patient_is_refused(store: Store, image: Image) -> None:
    kept = store.add(image(1))
    with pytest.raises(StoreError, match="maybe"):
        store.consent(kept.patient, "maybe", date(2026, 1, 1))  # pyright: ignore[reportArgumentType] # what is tested
    with pytest.raises(StoreError, match="no patient"):
        store.consent("nobody", "consent", date(2026, 1, 1))


# ---- cache, quarantine, settings


def test_derived_data_is_kept_replaced_and_missed(store: Store, image: Image) -> None:
    one, other = added(store, [image(1), image(2)])
    assert store.cache_get(one.instance, "ready") is None
    store.cache_put(one.instance, "ready", b"a" * 20_000)
    store.cache_put_many("ready", [(one.instance, b"b"), (other.instance, b"c")])
    assert store.cache_get(one.instance, "ready") == b"b"
    assert store.cache_get(other.instance, "ready") == b"c"
    assert store.cache_get(one.instance, "features") is None
    with pytest.raises(StoreError, match="no instance"):
        store.cache_put("elsewhere", "ready", b"d")


def test_what_is_quarantined_is_kept_until_released_or_deleted(store: Store) -> None:
    first = store.quarantine("ward/a.dcm", "truncated", "the pixel data end early", b"half a file")
    second = store.quarantine("ward/b.txt", "not_an_image", "no image format known to us", None)
    assert store.quarantine("ward/a.dcm", "truncated", "the pixel data end early", b"half a file") == first
    rows = store.quarantined()
    assert [(row.id, row.source, row.code, row.reason, row.size) for row in rows] == [
        (first, "ward/a.dcm", "truncated", "the pixel data end early", 11),
        (second, "ward/b.txt", "not_an_image", "no image format known to us", None),
    ]
    assert store.quarantined_content(first) == b"half a file"
    assert store.quarantined_content(second) is None
    assert store.release_quarantined(first) == b"half a file"
    store.delete_quarantined(second)
    assert store.quarantined() == []
    for gone in (first, second, "nothing"):
        with pytest.raises(StoreError, match="nothing is quarantined"):
            store.quarantined_content(gone)
        with pytest.raises(StoreError, match="nothing is quarantined"):
            store.delete_quarantined(gone)
    assert store.quarantine("ward/a.dcm", "truncated", "the pixel data end early", b"half a file") != first
    store.verify()


def test_settings_are_kept_and_the_stores_own_are_fixed(tmp_path: Path) -> None:
    with Store.create(tmp_path / "s", "St. Anna") as store:
        assert store.setting("site") == "St. Anna"
        store.set_setting("release", "ab")
        store.set_setting("release", "cd")
        with pytest.raises(StoreError, match="fixed"):
            store.set_setting("site", "elsewhere")
        with pytest.raises(StoreError, match="'colour'"):
            store.setting("colour")
    with Store.open(tmp_path / "s") as store:
        assert store.setting("release") == "cd"


def test_threads_take_turns(store: Store, image: Image) -> None:
    kept = added(store, [image(n, patient_id=f"P{n % 4}") for n in range(24)])

    def work(number: int) -> bool:
        store.add(image(100 + number, patient_id=f"P{number % 4}"))
        store.cache_put(kept[number].instance, "ready", b"%d" % number)
        return (
            store.content(kept[number].instance) == image(number).content
            and store.cache_get(kept[number].instance, "ready") == b"%d" % number
        )

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(24)))
    assert (store.count(), len(store.patients())) == (48, 4)
    store.verify()
