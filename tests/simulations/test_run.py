"""Whole studies, tiny: every room of the run, the figures that must add up, and the same figures from the same seed."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_study import STUDY, tiny

from medquorum.client.node import Node
from medquorum.models import checkpoint
from medquorum.privacy.errors import PrivacyError
from medquorum.simulations.errors import StudyError, StudyRefusedError
from medquorum.simulations.progress import StageAdvanced, StageFinished, StageStarted
from medquorum.simulations.run import run_study

RUN = (
    ('name = "One | <b>"\npatients = 12', 'name = "One"\npatients = 9'),
    ('name = "Two"\npatients = 12', 'name = "Two"\npatients = 8'),
    ("quorum = 2\nlearning_rate = 0.05", "quorum = 2\nevaluation_bins = 20"),
    ("epsilon = 6.0", "epsilon = 6.0\nepsilon_cap = 7.0"),
    ('regions = "mask"', 'error_rate = 0.05\nautomation_bias = 0.2\nregions = "mask"'),
)


def study_of(folder: Path, *changes: tuple[str, str]):
    return tiny(folder, *RUN, *changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny study's result, its folder and the events that it told."""
    folder = tmp_path_factory.mktemp("study")
    events = []
    result = run_study(study_of(folder), None, folder / "out", progress=events.append)
    return result, folder / "out", events


def test_a_hospitals_figures_add_up(finished):
    result, out, _ = finished
    assert result.synthetic and result.aggregation == "plain" and result.findings == ("consolidation",)
    assert [site.name for site in result.sites] == ["One", "Two"]
    for site, patients in zip(result.sites, (9, 8), strict=True):
        assert site.patients == patients == site.train_patients + site.held_out_patients
        assert site.held_out_patients == round(0.4 * patients)
        with Node.open(out / "nodes" / site.name) as node:
            assert node.store.count() == site.images
            assert site.epsilon == node.ledger.spent()
            # Training alone beside the federation is a comparison: the real ledger never hears of it.
            purposes = [charge.purpose for charge in node.ledger.charges()]
            assert purposes == ["evaluation", "update", "update", "evaluation"]
            assert node.store.verify().events > 0
            held = {row.patient for row in node.store.instances(held_out=True)}
            assert len(held) == site.held_out_patients
            (plan,) = {charge.plan_hash for charge in node.ledger.charges()}
            assert not {record.patient for record in node.store.frozen(plan)} & held
        assert 5.9 < site.epsilon <= 6.0 < site.epsilon_cap == 7.0
        assert site.noise_multiplier > 0 and site.delta == 0.01
        effort = site.effort
        assert effort.actions > 0 and effort.by_hand_actions > 0 and effort.accept_all_actions > 0
        assert effort.studies > 0 and 0 <= effort.label_errors <= 1


def test_rounds_bytes_and_the_release_are_the_coordinators(finished):
    result, out, _ = finished
    assert [one.round for one in result.rounds] == [1, 2]
    assert all(one.survivors == ("One", "Two") and one.missing == () for one in result.rounds)
    assert result.rounds[0].epsilon < result.rounds[1].epsilon == pytest.approx(result.sites[0].epsilon)
    assert result.bytes_sent == sum(site.bytes_sent for site in result.sites)
    # Each site sends at least its update, in float64, in every round.
    assert all(site.bytes_sent > 2 * 8 * result.parameters for site in result.sites)
    assert checkpoint.load(out / "release").hash.hex() == result.release


def test_what_is_damaged_is_counted_with_its_reason(finished):
    result, _, _ = finished
    assert result.sites[0].quarantined and not result.sites[1].quarantined
    for source, reason in result.sites[0].quarantined:
        assert source.startswith("damaged/") and reason
    assert any("One" in said and "quarantine" in said for said in result.warnings)
    assert any("synthetic" in said for said in result.warnings)


def test_no_truth_and_no_plain_image_lies_in_a_nodes_folder(finished):
    _, out, _ = finished
    for file in (out / "nodes").rglob("*"):
        if file.is_file() and file.suffix != ".toml":
            content = file.read_bytes()
            assert b"Invented^" not in content and b"DICM" not in content and b"INV-0" not in content


def test_the_sheet_shows_every_hospital(finished):
    import io

    result, _, _ = finished
    assert {image.site for image in result.sheet} == {"One", "Two"}
    for image in result.sheet:
        whole = Image.open(io.BytesIO(image.image))
        assert Image.open(io.BytesIO(image.heatmap)).size == whole.size
        assert bool(image.truth) == image.present
        if image.truth:
            assert np.asarray(Image.open(io.BytesIO(image.truth))).max() == 255
        assert 0 <= image.probability <= 1


def test_stages_start_advance_and_finish_in_order(finished):
    _, _, events = finished
    running = None
    seen = []
    for event in events:
        if isinstance(event, StageStarted):
            assert running is None and event.stage not in seen
            running, done, total = event.stage, 0, event.total
            seen.append(event.stage)
        elif isinstance(event, StageAdvanced):
            assert event.stage == running and event.done >= done
            done = event.done
            assert total == 0 or done <= total + 1  # a damaged file stands beside those counted
        elif isinstance(event, StageFinished):
            assert event.stage == running
            running = None
        else:
            assert running is None and "training + held out" in event.text
    assert running is None and len(seen) >= 8


def test_the_same_seed_gives_the_same_figures(finished, tmp_path):
    result, _, _ = finished
    again = run_study(study_of(tmp_path), None, tmp_path / "out")

    def timeless(one):
        rounds = tuple(dataclasses.replace(entry, seconds=0.0) for entry in one.rounds)
        return dataclasses.replace(one, seconds=0.0, rounds=rounds)

    assert timeless(again) == timeless(result)


def test_a_folder_with_a_run_is_never_run_over(finished, tmp_path):
    _, out, _ = finished
    with pytest.raises(StudyRefusedError, match="holds a run"):
        run_study(study_of(tmp_path), None, out)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("delta = 0.01", "delta = 0.4", "1/4"),
        ("delta = 0.01", "delta = 0.01\nmax_noise_multiplier = 0.1", "epsilon"),
        ("quorum = 2", "quorum = 3", "quorum of 3 out of 2"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_imported(tmp_path, old, new, said):
    with pytest.raises((PrivacyError, StudyError)) as caught:
        run_study(study_of(tmp_path, (old, new)), None, tmp_path / "out")
    assert said in str(caught.value) and "Fix: " in str(caught.value)
    assert not (tmp_path / "out" / "nodes").exists()


def test_pictures_with_a_table_and_masks_without_privacy(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    generator = np.random.default_rng(0)
    lines = ["file,patient_id,site,tumor,mask"]
    for number in range(24):
        image = generator.integers(0, 90, (40, 48)).astype(np.uint8)
        mask = np.zeros((40, 48), np.uint8)
        if number % 3 == 0:
            image[10:22, 12:30] = 230
            mask[10:22, 12:30] = 255
            Image.fromarray(mask).save(data / f"m{number}.png")
        Image.fromarray(image).save(data / f"i{number}.png")
        has = number % 3 == 0
        lines.append(f"i{number}.png,p{number},{'AB'[number % 2]},{int(has)},{f'm{number}.png' if has else ''}")
    (data / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    lines.append("torn.png,p99,A,0,")
    (data / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    text = STUDY
    for old, new in RUN:
        text = text.replace(old, new)
    head, tail = text.split("[sites]")
    text = (
        head.split("[data]")[0]
        + '[data]\nkind = "table"\n[data.columns]\nsite = "site"\nmask = "mask"\n[sites]\npartition = "column"\n'
        + tail.replace('modality = "CR"', 'modality = "MR"')
        .replace('key = "consolidation"', 'key = "tumor"')
        .replace('meaning = "Lung consolidation"', 'meaning = "x"\ncolumn = "tumor"\npresent = ["1"]\nabsent = ["0"]')
        .replace("epsilon = 6.0", 'mode = "none"')
        .replace("epsilon_cap = 7.0\n", "")
    )
    result = run_study(tiny(tmp_path, text=text), data, tmp_path / "out")
    assert result.mode == "none" and not result.synthetic
    assert [site.patients for site in result.sites] == [12, 12]
    assert [len(site.quarantined) for site in result.sites] == [1, 0]
    assert all(math.isinf(site.epsilon) for site in result.sites)
    assert any("not private" in said for said in result.warnings)
    assert all(site.dice is not None and site.pointing is not None for site in result.sites)
