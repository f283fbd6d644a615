"""A whole tiny check on arrays: production's federation, the published test set, and each mistake's one line."""

from __future__ import annotations

import gzip
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.models.checkpoint import load
from medquorum.simulations.compare.running import Options, compare_cells
from medquorum.simulations.errors import StudyError, StudyRefusedError
from medquorum.simulations.glyphs import render_digits
from medquorum.simulations.published.arrays import fold_of, read_arrays
from medquorum.simulations.published.idx import read_idx
from medquorum.simulations.published.running import check, wilson
from medquorum.simulations.study import bundled, load_study
from medquorum.simulations.training import starting_release

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder like MNIST's, of rendered digits."""
    place = tmp_path_factory.mktemp("digits")
    for seed, count in ((1, 300), (2, 60)):
        images, labels = render_digits(range(10), count, seed)
        for name, array in zip(FILES[2 * seed - 2 :], (np.rint(images * 255), labels), strict=False):
            (place / name).write_bytes(gzip.compress(idx(array.astype(np.uint8))))
    return place


def study():
    """The ready-made study, made small."""
    full = load_study(bundled("mnist"))
    assert full.pretraining is not None
    return replace(
        full,
        sites=replace(full.sites, names=full.sites.names[:3]),
        model=replace(full.model, architecture=replace(full.model.architecture, width=8)),
        plan=replace(full.plan, rounds=3, quorum=3, sampling_rate=0.5, max_noise_multiplier=1000.0),
        pretraining=replace(full.pretraining, images=64, epochs=1, learning_rate=0.01),
    )


@pytest.fixture(scope="module")
def checked(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "mnist"
    return check(study(), folder, out), out


def test_a_check_trains_by_production_and_scores_the_test_set(checked):
    made, out = checked
    (seed,) = made.seeds
    assert (made.hospitals, made.images, made.test_images, made.rounds) == (3, 300, 60, 3)
    assert seed.epsilon is not None and 2.9 < seed.epsilon <= 3.0
    assert seed.accuracy.low < seed.accuracy.value <= seed.accuracy.high
    assert seed.before.low < seed.before.value <= seed.before.high
    release = load(out / "release-seed1")
    assert release.hash.hex() == seed.release
    generated, federated = release.card.training
    assert generated.synthetic and generated.sites == ()
    assert federated.mode == "distributed" and federated.sites == study().sites.names


def test_the_report_holds_every_figure_and_is_not_overwritten(checked, folder):
    made, out = checked
    kept = json.loads((out / "published.json").read_text())
    assert kept["schema"] == "medquorum.published/1" and kept["mean"] == made.mean
    assert kept["seeds"][0]["accuracy"]["value"] == made.seeds[0].accuracy.value
    with pytest.raises(StudyRefusedError, match="already"):
        check(study(), folder, out)


def test_the_same_seed_gives_the_same_model(checked, folder, tmp_path):
    made, _ = checked
    assert check(study(), folder, tmp_path / "again").seeds[0].release == made.seeds[0].release


def test_every_image_is_one_patient_at_one_hospital(folder, tmp_path):
    arrays = read_arrays(study(), folder)
    fold = fold_of(study(), arrays, starting_release(replace(study(), pretraining=None), tmp_path))
    rows = np.concatenate([ward.train for ward in fold.wards])
    assert np.array_equal(np.sort(rows), np.arange(300))
    for ward in fold.wards:
        mine = fold.rows(ward)
        assert mine.patient_count == len(ward.train) == ward.nominal
        assert np.array_equal(mine.targets.labels.argmax(dim=1).numpy(), arrays.labels[ward.train])


def test_other_commands_send_arrays_here_and_back(folder, tmp_path):
    with pytest.raises(StudyError, match="arrays") as caught:
        compare_cells(study(), folder, tmp_path / "out", Options(seeds=1))
    assert "simulate published" in caught.value.fix
    with pytest.raises(StudyError, match="not arrays"):
        read_arrays(load_study(bundled("demo")), folder)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        (FILES[0], None, "no such file"),
        (FILES[0], b"\x1f\x8bnot gzip", "cannot be read"),
        (FILES[0], idx(np.zeros(5, np.uint8)), "3 dimensions"),
        (FILES[1], idx(np.zeros(5, np.uint8)), "5 labels for 300 images"),
        (FILES[3], idx(np.full(60, 11, np.uint8)), "the label 11"),
        (FILES[3], idx(np.zeros(60, np.uint8))[:-1], "59 bytes"),
    ],
)
def test_arrays_that_cannot_be_used_are_named(folder, tmp_path, name, content, what):
    for one in FILES:
        if one != name:
            (tmp_path / one).write_bytes((folder / one).read_bytes())
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(StudyError, match=what) as caught:
        read_arrays(study(), tmp_path)
    assert name in caught.value.where and caught.value.fix


@given(st.binary(max_size=64), st.integers(1, 3))
def test_whatever_bytes_a_file_holds_it_is_read_or_refused(tmp_path_factory, content, dimensions):
    path = tmp_path_factory.getbasetemp() / "any.idx"
    path.write_bytes(content)
    try:
        assert read_idx(path, dimensions).ndim == dimensions
    except StudyError as refused:
        assert refused.fix


def test_wilsons_interval_agrees_with_a_worked_example():
    found = wilson(1, 10)
    assert (found.low, found.high) == pytest.approx((0.0179, 0.4042), abs=2e-4)
    assert wilson(10, 10).high == pytest.approx(1.0)
