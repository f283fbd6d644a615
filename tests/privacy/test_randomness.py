"""The keystream and what is made from it: independent, uniform, never shared between processes."""

from __future__ import annotations

import copy
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medquorum.privacy.randomness import SecureRandomness, SeededRandomness, below, uniforms, words


def test_a_seed_and_its_path_give_the_same_stream_twice_and_other_paths_other_streams() -> None:
    assert SeededRandomness(7, "a", 1).take(64) == SeededRandomness(7, "a", 1).take(64)
    streams = {
        SeededRandomness(*key).take(64) for key in ((7,), (8,), (7, "a"), (7, "a", 1), (7, "a1"), (7, "1"), (7, 1))
    }
    assert len(streams) == 7


@given(st.lists(st.integers(0, 3000), max_size=8))
def test_how_a_stream_is_cut_does_not_change_it(pieces: list[int]) -> None:
    source = SeededRandomness(3)
    assert b"".join(source.take(n) for n in pieces) == SeededRandomness(3).take(sum(pieces))


def test_a_long_draw_is_the_same_stream() -> None:
    size = (1 << 21) + 12_345
    source = SeededRandomness(4)
    assert SeededRandomness(4).take(size) == source.take(1 << 20) + source.take(size - (1 << 20))


def test_only_the_seeded_source_is_reproducible() -> None:
    assert SeededRandomness(1).reproducible
    assert not SecureRandomness().reproducible
    assert SecureRandomness().take(32) != SecureRandomness().take(32)


def test_a_secure_source_is_never_copied() -> None:
    source = SecureRandomness()
    for copying in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="must not be copied"):
            copying(source)


def test_a_forked_child_draws_another_stream() -> None:
    source = SecureRandomness()
    source.take(1)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, source.take(32))
        os._exit(0)
    ours = source.take(32)
    theirs = os.read(read, 32)
    os.waitpid(child, 0)
    assert len(theirs) == 32
    assert ours != theirs


def test_words_and_uniforms_are_uniform() -> None:
    source = SeededRandomness(11)
    values = uniforms(100_000, source)
    assert 0.0 <= values.min() < values.max() < 1.0
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    bits = np.unpackbits(words(20_000, source).view(np.uint8).reshape(-1, 8), axis=1)
    assert np.all(np.abs(bits.mean(axis=0) - 0.5) < 5 * 0.5 / np.sqrt(20_000))


def test_below_is_uniform_below_every_bound() -> None:
    source = SeededRandomness(12)
    assert np.array_equal(below(np.ones(5, dtype=np.int64), source), np.zeros(5))
    for bound in (2, 3, 7, 10):
        counts = np.bincount(below(np.full(30_000, bound), source), minlength=bound)
        assert counts.size == bound
        assert stats.chisquare(counts).pvalue > 1e-3
