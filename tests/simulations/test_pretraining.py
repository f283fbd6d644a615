"""Pre-training on generated images: repeatable, kept, visible in the card, and of use."""

from __future__ import annotations

import numpy as np
import pytest

from medquorum.models.card import Architecture, InputTransform
from medquorum.server.plan_terms import ModelTerms
from medquorum.simulations.errors import StudyError
from medquorum.simulations.glyphs import render_digits
from medquorum.simulations.phantoms.pictures import draw_pictures
from medquorum.simulations.pretraining import FOLDER, framed, pretrained
from medquorum.simulations.scoring import run_model
from medquorum.simulations.terms import Pretraining
from medquorum.task import Finding, Task

TASK = Task((Finding("zero", "99T", "0", "Zero"), Finding("one", "99T", "1", "One")), "OT")
MODEL = ModelTerms(Architecture("small", "random", False, 8, "mean", 4.0), InputTransform(32, 0.13, 0.31))
DIGITS = Pretraining("fonts", ("0", "1"), images=512, epochs=2, learning_rate=0.01)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    beside = tmp_path_factory.mktemp("beside")
    start = MODEL.release(TASK, 1)
    return start, pretrained(start, DIGITS, 5, beside), beside


def right(release):
    images, shows = render_digits([0, 1], 200, seed=999)
    logits, _ = run_model(release, framed(images, release))
    return float((logits.argmax(axis=1) == shows).mean())


def test_it_learns_what_was_rendered(made):
    _, release, _ = made
    assert right(release) > 0.9


def test_the_card_says_that_the_images_were_generated(made):
    start, release, _ = made
    (record,) = release.card.training
    assert record.synthetic and record.sites == () and record.epsilon is None and record.rounds == 2
    assert start.card.training == ()


def test_it_is_made_once_and_is_the_same_when_made_again(made, tmp_path):
    start, release, beside = made

    def never(epoch: int) -> None:
        raise AssertionError("trained again")

    assert pretrained(start, DIGITS, 5, beside, never).hash == release.hash
    assert pretrained(start, DIGITS, 5, tmp_path).hash == release.hash
    assert len(list((beside / FOLDER).iterdir())) == 1


def test_a_damaged_copy_is_named_with_the_fix(made, tmp_path):
    start, _, _ = made
    small = Pretraining("fonts", ("0", "1"), images=8, epochs=1, learning_rate=0.01)
    pretrained(start, small, 1, tmp_path)
    (folder,) = (tmp_path / FOLDER).iterdir()
    (folder / "card.json").write_bytes(b"{}")
    with pytest.raises(StudyError, match="pre-trained model"):
        pretrained(start, small, 1, tmp_path)


def test_phantoms_train_a_model_too(tmp_path):
    terms = Pretraining("phantoms", ("consolidation", "effusion"), images=8, epochs=2, learning_rate=0.01)
    start = MODEL.release(TASK, 1)
    release = pretrained(start, terms, 1, tmp_path)
    assert release.card.training[0].plan == "generated images (phantoms)"
    assert any(not value.equal(release.tensors[name]) for name, value in start.tensors.items())


def test_phantom_pictures_are_grey_and_repeat_by_seed():
    first, again = (list(draw_pictures(["effusion"], 5, 2)) for _ in range(2))
    assert len(first) == 5
    for (image, present), (other, also) in zip(first, again, strict=True):
        assert image.dtype == np.float32 and image.min() >= 0.0 and image.max() <= 1.0 and image.std() > 0.05
        assert np.array_equal(image, other) and np.array_equal(present, also)


def test_a_picture_is_framed_in_black_without_resizing():
    release = MODEL.release(TASK, 1)
    images = np.random.default_rng(1).random((2, 28, 28), dtype=np.float32)
    inputs = framed(images, release).numpy() * 0.31 + 0.13
    assert inputs.shape == (2, 1, 32, 32)
    assert np.allclose(inputs[:, 0, 2:30, 2:30], images, atol=1e-6)
    assert np.allclose(inputs[:, 0, :2], 0.0, atol=1e-6)
    with pytest.raises(StudyError, match="40 x 28"):
        framed(np.zeros((1, 40, 28), np.float32), release)
