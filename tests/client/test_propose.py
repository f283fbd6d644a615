"""Proposing: what is proposed for which image, where, and what happens to images that cannot be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_files import dicom
from hypothesis import given
from hypothesis import strategies as st

from medquorum.client.annotations import Box, Mask
from medquorum.client.errors import NodeError
from medquorum.client.gate import InProcess
from medquorum.client.inputs import Inputs
from medquorum.client.intake import import_dicom
from medquorum.client.ordered import in_order
from medquorum.client.pixels import render
from medquorum.client.pixels.preview import PREVIEW
from medquorum.client.propose import propose
from medquorum.client.regions import propose_regions
from medquorum.client.store import NewInstance, Store
from medquorum.models.card import Architecture, InputTransform, ModelCard
from medquorum.models.checkpoint import Release
from medquorum.models.network import build
from medquorum.models.transform import prepare
from medquorum.task import Finding, Task

FINDINGS = (Finding("opacity", "SCT", "128305008", "Opacity"), Finding("nodule", "SCT", "27925004", "Nodule"))
TRANSFORM = InputTransform(32, 0.4, 0.2)


def make_release(seed: int = 1) -> Release:
    architecture = Architecture("small", "random", False, 8, "lse", 4.0)
    task = Task(FINDINGS, "DX", "CHEST")
    return Release.of(build(architecture, 2, seed), ModelCard(task, architecture, TRANSFORM, (1.0, 2.0)))


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Iterator[Store]:
    """Nine DX chests of several sizes, one hand and one CT."""
    ward = tmp_path / "ward"
    ward.mkdir()
    generator = np.random.default_rng(3)
    for number in range(11):
        pixels = generator.integers(0, 4000, (40 + 3 * number, 60 - 2 * number), np.uint16)
        changes = {9: {"BodyPartExamined": "HAND"}, 10: {"Modality": "CT"}}.get(number, {})
        (ward / f"{number:02}.dcm").write_bytes(dicom(pixels, number + 1, **changes))
    import_dicom(store, ward, InProcess())
    yield store


def test_every_image_gets_its_proposal(filled: Store) -> None:
    release = make_release()
    seen: list[tuple[int, int]] = []
    report = propose(filled, release, batch_size=4, progress=lambda done, total: seen.append((done, total)))
    assert (report.proposed, report.not_applicable, report.failed) == (9, 2, ())
    assert seen[-1] == (11, 11)
    proposals = filled.proposals(release.hash.hex())
    rows = {row.id: row for row in filled.instances()}
    net = release.network()
    for identifier, proposal in proposals.items():
        row = rows[identifier]
        if row.source in ("09.dcm", "10.dcm"):
            assert not proposal.applicable and not proposal.probabilities
            continue
        (image,) = Inputs(filled, TRANSFORM).load([(row, 0)])
        assert isinstance(image, np.ndarray)
        with torch.inference_mode():
            logits = net(torch.from_numpy(image[None])).logits[0].double()
        expected = torch.sigmoid(logits / torch.tensor([1.0, 2.0]).double()).tolist()
        assert [key for key, _ in proposal.probabilities] == ["opacity", "nodule"]
        assert [chance for _, chance in proposal.probabilities] == pytest.approx(expected, abs=1e-5)
        present = {key for key, chance in proposal.probabilities if chance >= 0.5}
        assert {region.finding for region in proposal.regions} == present
    assert propose(filled, release).proposed == 0
    assert filled.without_proposal(release.hash.hex()) == []


def test_reasons_name_what_is_outside_the_task(filled: Store) -> None:
    release = make_release()
    propose(filled, release)
    told = {filled.instance(at).source: p.reason for at, p in filled.proposals(release.hash.hex()).items() if p.reason}
    assert told == {
        "09.dcm": "its body part is HAND; the model is for CHEST",
        "10.dcm": "its modality is CT; the model is for DX",
    }


def test_proposals_do_not_depend_on_batches_or_threads(filled: Store) -> None:
    before = torch.get_num_threads()
    release = make_release()
    outcomes: list[dict[str, tuple[object, object]]] = []
    for batch_size, threads in ((1, 1), (4, 3), (32, 2)):
        propose(filled, release, batch_size, threads, instances=filled.instances())
        proposals = filled.proposals(release.hash.hex())
        outcomes.append({at: ([round(c, 5) for _, c in p.probabilities], p.regions) for at, p in proposals.items()})
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert torch.get_num_threads() == before


def test_an_undecodable_image_is_reported_and_the_others_proposed(store: Store, tmp_path: Path) -> None:
    ward = tmp_path / "ward"
    ward.mkdir()
    (ward / "good.dcm").write_bytes(dicom(np.arange(600, dtype=np.uint16).reshape(20, 30)))
    import_dicom(store, ward, InProcess())
    bad = NewInstance("", "P9", "1.9", "1.9.1", "1.9.1.1", "DX", "CHEST", "", "", 4, 4, 1, "", "bad.dcm", "dicom", b"x")
    store.add(bad)
    report = propose(store, make_release())
    assert report.proposed == 1
    (failed,) = report.failed
    assert failed.source == "bad.dcm" and "DICOM" in failed.reason
    assert [row.source for row in store.without_proposal(make_release().hash.hex())] == ["bad.dcm"]


def test_a_network_that_gives_no_number_is_a_clear_error(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "medquorum.client.inference.Inference._forward",
        lambda self, images: (np.full((len(images), 2), np.nan), np.zeros((len(images), 2, 4, 4))),
    )
    before = torch.get_num_threads()
    with pytest.raises(NodeError, match="no number for finding 'opacity'"):
        propose(filled, make_release())
    assert torch.get_num_threads() == before
    assert not any(p.applicable for p in filled.proposals(make_release().hash.hex()).values())


# ---- inputs


def test_the_input_is_the_rendered_image_prepared(filled: Store) -> None:
    row = filled.instances()[0]
    loads = [Inputs(filled, TRANSFORM).load([(row, 0)])[0] for _ in range(2)]  # made, then read back
    expected = prepare(render(filled.content(row.id), "dicom").image, TRANSFORM)
    for image in loads:
        assert isinstance(image, np.ndarray) and image.dtype == np.float32
        # Two roundings to 8 bits, of the preview and of the input, each at most half a step.
        np.testing.assert_allclose(image, expected, atol=1.01 / 255 / TRANSFORM.std)
    np.testing.assert_array_equal(loads[0], loads[1])


def test_kept_inputs_serve_cards_that_differ_only_in_mean_and_std(filled: Store) -> None:
    row = filled.instances()[0]
    (first,) = Inputs(filled, TRANSFORM).load([(row, 0)])
    filled.cache_put(row.id, PREVIEW, b"would fail")
    (other,) = Inputs(filled, InputTransform(32, 0.0, 1.0)).load([(row, 0)])
    assert isinstance(first, np.ndarray) and isinstance(other, np.ndarray)
    np.testing.assert_allclose(first * 0.2 + 0.4, other, atol=1e-6)


# ---- regions


def grid(*cells: tuple[int, int], size: int = 8, inside: float = 4.0, outside: float = -4.0) -> np.ndarray:
    made = np.full((size, size), outside, np.float32)
    for row, column in cells:
        made[row, column] = inside
    return made


def test_a_region_lies_where_the_map_says() -> None:
    (region,) = propose_regions("x", grid((1, 5), (1, 6), (2, 5), (2, 6)), InputTransform(64, 0, 1), 400, 400)
    box = region.shape
    assert isinstance(box, Box) and region.origin == "proposed"
    assert (box.x0 + box.x1) / 2 == pytest.approx(300, abs=15) and (box.y0 + box.y1) / 2 == pytest.approx(100, abs=15)
    assert 60 <= box.x1 - box.x0 <= 120


def test_padding_is_left_out_of_a_region_in_an_oblong_image() -> None:
    """A wide image fills the square's middle rows only: the map's top row lies above it."""
    (region,) = propose_regions("x", grid(*((0, c) for c in range(8)), (4, 1)), InputTransform(64, 0, 1), 100, 200)
    assert isinstance(region.shape, Box)
    assert region.shape.y0 > 40 and region.shape.x1 < 75


def test_components_are_told_apart_largest_first() -> None:
    regions = propose_regions("x", grid((1, 1), (1, 2), (2, 1), (2, 2), (6, 6)), InputTransform(64, 0, 1), 300, 300)
    assert len(regions) == 2
    first, second = (region.shape for region in regions)
    assert isinstance(first, Box) and isinstance(second, Box)
    assert first.x1 < second.x0


def test_a_mask_has_the_size_of_the_image() -> None:
    (region,) = propose_regions("x", grid((1, 1), (6, 6)), InputTransform(64, 0, 1), 301, 199, "mask")
    assert isinstance(region.shape, Mask)
    array = region.shape.array()
    assert array.shape == (301, 199)
    # The image fills columns 11 to 53 of the 64: grid cell (1, 1) has its centre at its row 56 and column 5.
    assert array[56, 5] and array[245, 194] and not array[150, 100]


def test_a_region_is_told_by_the_maps_own_range_and_not_by_a_chance_of_one_half() -> None:
    for shift in (-7.0, -5.0, 0.0, 30.0):
        map = grid((3, 3), inside=1.0, outside=0.0) + np.float32(shift)
        (region,) = propose_regions("x", map, InputTransform(64, 0, 1), 80, 80)
        assert isinstance(region.shape, Box) and 28 <= region.shape.x0 < 35 < region.shape.x1 <= 42


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(0, 2**31),
    st.sampled_from(["box", "mask"]),
)
def test_regions_always_fit_the_image(rows: int, columns: int, seed: int, shape: str) -> None:
    if shape == "mask":
        rows, columns = rows % 400 + 1, columns % 400 + 1
    map = np.random.default_rng(seed).normal(size=(6, 6)).astype(np.float32)
    for region in propose_regions("x", map, InputTransform(48, 0, 1), rows, columns, shape):  # pyright: ignore[reportArgumentType]
        if isinstance(region.shape, Box):
            assert region.shape.x1 <= columns and region.shape.y1 <= rows
        else:
            assert (region.shape.rows, region.shape.columns) == (rows, columns)


# ---- order


def test_results_come_in_order_and_a_fault_at_its_place() -> None:
    def work(item: int) -> int:
        if item == 7:
            raise ValueError("seven")
        return item * item

    taken: list[int] = []
    with ThreadPoolExecutor(3) as pool, pytest.raises(ValueError, match="seven"):
        for result in in_order(pool, work, range(10), 4):
            taken.append(result)  # noqa: PERF402 - what came before the fault is looked at
    assert taken == [item * item for item in range(7)]


def test_another_release_is_asked_anew(filled: Store) -> None:
    propose(filled, make_release())
    other = make_release(seed=2)
    assert propose(filled, other).proposed == 9


def test_an_image_of_one_side_gets_nothing_of_the_other(store: Store, tmp_path: Path) -> None:
    left, right = FINDINGS[1].of_sides(["L", "R"])
    plain = make_release()
    both = Release(replace(plain.card, task=Task((left, right), "DX")), plain.tensors)
    ward = tmp_path / "ward"
    ward.mkdir()
    for number, laterality in enumerate(("L", "R", "", "B", "U")):
        pixels = np.random.default_rng(number).integers(0, 4000, (40, 60), np.uint16)
        (ward / f"{laterality or 'none'}.dcm").write_bytes(dicom(pixels, number + 1, ImageLaterality=laterality))
    import_dicom(store, ward, InProcess())
    assert propose(store, both).proposed == 5
    rows = {row.id: row.source for row in store.instances()}
    told = {rows[at]: one for at, one in store.proposals(both.hash.hex()).items()}
    keys = {source: [key for key, _ in one.probabilities] for source, one in told.items()}
    everything = ["nodule_left", "nodule_right"]
    assert keys == {
        "L.dcm": ["nodule_left"],
        "R.dcm": ["nodule_right"],
        "none.dcm": everything,
        "B.dcm": everything,
        "U.dcm": everything,
    }
    for source, one in told.items():
        assert {region.finding for region in one.regions} <= set(keys[source])
