"""The audit's attacks on the product itself: they find what is broken in it, and nothing where nothing is."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from medquorum.client.store import FrozenRecord
from medquorum.client.training_set import TrainingSet
from medquorum.models.card import Architecture, InputTransform, ModelCard
from medquorum.models.checkpoint import Release
from medquorum.models.head import RegionHead
from medquorum.models.loss import Targets
from medquorum.models.network import FindingNet
from medquorum.models.small import SmallBackbone
from medquorum.privacy import dpsgd, noise
from medquorum.privacy.clipping import engine
from medquorum.privacy.plan import Plan, PlanSite, PrivacyTerms, TrainingTerms
from medquorum.simulations.audit import inversion, mechanism, words
from medquorum.simulations.audit.running import Options, audit_study
from medquorum.simulations.errors import StudyError, StudyRefusedError
from medquorum.simulations.study import load_study
from medquorum.task import Finding, Task

CHANNELS = 8
TASK = Task((Finding("nodule", "SCT", "427359005", "Nodule"),), "CR", "", "")


def head_release(bias=True, centred=False):
    """A release whose small backbone is frozen: a head on 8 channels."""
    architecture = Architecture("small", "file", True, CHANNELS, "mean", 4.0, bias=bias, centred=centred)
    torch.manual_seed(1)
    backbone = SmallBackbone(CHANNELS)
    net = FindingNet(backbone, RegionHead(CHANNELS, 1, "mean", 4.0, bias=bias, centred=centred), True)
    return Release.of(net, ModelCard(TASK, architecture, InputTransform(32, 0.0, 1.0), (1.0,)))


def rows(patients=6):
    """Features of that many patients, two images each."""
    generator = np.random.default_rng(1)
    count = 2 * patients
    owners = np.repeat(np.arange(patients), 2)
    labels = torch.from_numpy((owners % 2).astype(np.float32))[:, None]
    return TrainingSet(
        inputs=torch.from_numpy(generator.standard_normal((count, CHANNELS, 2, 2)).astype(np.float16)),
        features=True,
        targets=Targets(
            labels,
            torch.ones(count, 1, dtype=torch.bool),
            torch.zeros(count, 1, 1, 1),
            torch.zeros(count, 1, dtype=torch.bool),
        ),
        patients=owners,
        records=tuple(FrozenRecord(str(one), 0, str(owner), "") for one, owner in enumerate(owners)),
        failed=(),
    )


def plan_for(release, mode="local", multiplier=1.0, rate=1.0):
    sites = tuple(PlanSite(f"site {number}", 10) for number in range(3 if mode == "distributed" else 1))
    return Plan(
        consortium="audit",
        name="audit",
        task=TASK,
        release=release.hash,
        sites=sites,
        quorum=len(sites),
        rounds=4,
        training=TrainingTerms("fedavg", 1, 0.5, 0.0, 0.0, (1.0,), 0.0, False, 1.0, 0.9, 0.99, 0.001),
        privacy=PrivacyTerms(mode, 50.0, 1e-3, 1.0, multiplier, 100.0, rate, "one"),
        evaluation=None,
        seed=1,
    )


def measured(mode="local", draws=1500, multiplier=1.0, **head):
    release = head_release(**head)
    return mechanism.measure(plan_for(release, mode, multiplier), release, rows(), draws, 7, lambda _: None)


@pytest.mark.parametrize("head", [{}, {"bias": False, "centred": True}], ids=["bias", "centred"])
@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_the_real_step_stands(mode, head):
    found = measured(mode, **head)
    assert not found.refuted
    assert found.reach > 10.0  # the crafted patient's gradient is far longer than the clip
    assert found.shift == pytest.approx(0.999, abs=1e-4)
    assert found.deviation == pytest.approx(1.0, abs=0.06)
    assert 0.85 * found.claim < found.epsilon < found.claim


def test_halved_noise_is_flagged(monkeypatch):
    real = noise.add_gaussian
    monkeypatch.setattr(dpsgd, "add_gaussian", lambda values, std, step, source: real(values, std / 2, step, source))
    found = measured()
    assert found.refuted and found.epsilon > 1.5 * found.claim


def test_noise_five_percent_low_is_flagged_with_enough_draws(monkeypatch):
    real = noise.add_gaussian
    monkeypatch.setattr(dpsgd, "add_gaussian", lambda values, std, step, source: real(values, 0.95 * std, step, source))
    assert measured(draws=10_000).refuted


def test_a_share_of_the_noise_that_is_halved_is_flagged(monkeypatch):
    from medquorum.privacy import distributed

    real = distributed.integer_gaussian
    monkeypatch.setattr(distributed, "integer_gaussian", lambda size, scale, source: real(size, scale / 2, source))
    assert measured("distributed").refuted


def test_a_dropped_clip_is_flagged(monkeypatch):
    monkeypatch.setattr(engine, "scales", lambda norms, clip, normalised: torch.ones_like(norms))
    found = measured(draws=200)
    assert found.refuted and found.shift > 10.0


def test_clipping_images_instead_of_patients_is_flagged(monkeypatch):
    """Every row a patient of its own: three equal images then move the sum by three clips."""
    real = dpsgd._Patients.__init__

    def each_its_own(self, patients):
        real(self, np.arange(len(patients)))

    monkeypatch.setattr(dpsgd._Patients, "__init__", each_its_own)
    found = measured(draws=200)
    assert found.refuted and found.shift == pytest.approx(3 * 0.999, rel=1e-3)


def test_a_step_without_its_noise_is_flagged(monkeypatch):
    """Noise that only the whole step leaves out: its last part is then not what a node sends."""
    real = dpsgd._gradients

    def bare(module, losses, nominal, terms, *rest):
        return real(module, losses, nominal, dataclasses.replace(terms, mode="none"), *rest)

    monkeypatch.setattr(dpsgd, "_gradients", bare)
    found = measured(draws=200)
    assert found.refuted and found.apart > 0.5


@pytest.fixture(scope="module", params=[(True, False), (False, True)], ids=["bias", "centred, no bias"])
def inverted(request):
    release = head_release(*request.param)
    bare = dataclasses.replace(plan_for(release), privacy=dataclasses.replace(plan_for(release).privacy, mode="none"))
    return inversion.invert(bare, plan_for(release, multiplier=5.0), release, rows(), 1, lambda _: None)


def test_a_bare_update_gives_the_feature_and_the_image(inverted):
    assert inverted.features[0].how == "bare" and inverted.features[0].similarity > 0.9999
    assert inverted.images[0].how == "bare" and inverted.images[0].similarity > 0.95
    assert inverted.truth.shape == (32, 32) and len(inverted.pictures) == 3


def test_noise_and_a_mask_give_no_image(inverted):
    for one in inverted.images[1:]:
        assert abs(one.similarity) < one.chance


def test_a_masked_vector_is_like_a_random_one():
    generator = np.random.default_rng(3)
    values = generator.standard_normal(50_000)
    seen = inversion.masked(values)
    assert abs(float(np.corrcoef(values, seen)[0, 1])) < 5 / np.sqrt(values.size)
    # Uniform over the ring, whatever was masked.
    scaled = seen / np.abs(seen).max()
    assert abs(scaled.mean()) < 0.02 and scaled.std() == pytest.approx(1 / np.sqrt(3), abs=0.01)


STUDY = """
[study]
name = "tiny <b>"
seed = 3
[data]
kind = "phantoms"
[[data.hospitals]]
name = "One <i>"
patients = 12
vendor = "aurora"
prevalence = { consolidation = 0.5 }
[[data.hospitals]]
name = "Two"
patients = 12
vendor = "borealis"
prevalence = { consolidation = 0.5 }
[sites]
held_out = 0.4
nominal_rounding = 2
[task]
modality = "CR"
[[task.findings]]
key = "consolidation"
scheme = "SCT"
code = "95436008"
meaning = "Lung consolidation"
[model]
backbone = "small"
width = 8
size = 32
[plan]
rounds = 1
local_steps = 1
quorum = 2
learning_rate = 0.05
region_weight = 0.0
[plan.privacy]
epsilon = 6.0
delta = 0.01
"""


def study_in(folder, text=STUDY):
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return load_study(path)


def test_mistakes_are_one_line(tmp_path):
    study = study_in(tmp_path)
    for options, where in (
        (Options(canaries=2), "--canaries"),
        (Options(trainings=5), "--trainings"),
        (Options(draws=1), "--draws"),
        (Options(seeds=0), "--seeds"),
    ):
        with pytest.raises(StudyError, match=re.escape(where)) as caught:
            audit_study(study, None, tmp_path / "out", options)
        assert caught.value.fix and "\n" not in str(caught.value)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "audit.json").write_text("{}")
    with pytest.raises(StudyRefusedError, match="holds an audit already"):
        audit_study(study, None, tmp_path / "out", Options())


@pytest.mark.slow
def test_the_command_writes_everything(tmp_path):
    from typer.testing import CliRunner

    from medquorum.cli import app

    study_in(tmp_path)
    out = tmp_path / "out"
    words_ = ["simulate", "audit", str(tmp_path / "study.toml"), "--out", str(out), "--canaries", "12"]
    done = CliRunner().invoke(app, [*words_, "--trainings", "4", "--draws", "100", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads((out / "audit.json").read_text())
    assert json.loads(done.stdout) == told
    assert [arm["mode"] for arm in told["arms"]] == ["none", "local"]
    private = told["arms"][1]
    assert not told["refuted"] and private["mechanism"]["claim"] > private["mechanism"]["epsilon"]
    for bound in private["canaries"][0]["bounds"]:
        assert bound["epsilon"] <= bound["claim"]
    html = (out / "audit.html").read_text()
    assert "<script" not in html and 'src="http' not in html and "One <i>" not in html and "tiny <b>" not in html
    assert {one.stem for one in (out / "plots").iterdir()} == {"canaries", "membership", "mechanism", "inversion"}
    assert not (out / "work").exists()
    assert len(words.HEADERS) == (out / "audit.md").read_text().splitlines()[0].count("|") - 1
