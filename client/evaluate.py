"""The evaluation vector: how a site's held-out patients score, as fixed-bin histograms that sites can add up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def score_histograms(
    probabilities: NDArray[np.float64], labels: NDArray[np.float64], patients: NDArray[np.int64], bins: int
) -> NDArray[np.float64]:
    """Score histograms, flattened from (F, 2, bins): for each finding the absent patients, then the present ones.

    probabilities (N, F) in [0, 1]; labels (N, F): 1 present, 0 absent, anything else (uncertain, not assessed) does
    not count; patients (N,). Each patient adds one to at most one cell of each finding: they are present if any of
    their images is, their score is the mean over their images with a label. Bins are of equal width over [0, 1].
    """
    histograms = np.zeros((probabilities.shape[1], 2, bins))
    _, owner = np.unique(patients, return_inverse=True)
    for finding in range(probabilities.shape[1]):
        told = np.isin(labels[:, finding], (0.0, 1.0))
        images = np.bincount(owner[told], minlength=1)
        scores = np.bincount(owner[told], probabilities[told, finding], minlength=1)
        present = np.bincount(owner[told], labels[told, finding], minlength=1) > 0.0
        known = images > 0
        cells = np.minimum((scores[known] / images[known] * bins).astype(np.int64), bins - 1)
        np.add.at(histograms[finding], (present[known].astype(np.int64), cells), 1.0)
    return histograms.reshape(-1)
