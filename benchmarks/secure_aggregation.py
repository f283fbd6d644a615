"""Secure aggregation's costs beside Flower's SecAgg+ functions, and beside a bare loop of keystream and addition.

Client: from a float update to masked integers (quantise, all masks), and on to the bytes that go up; keys are agreed
already on both sides. Server: from a survivor sum in the ring to floats (reconstruct by Shamir, take all masks off,
dequantise), with nobody dropped and with one site dropped after its shares were out. "k peers" means k other sites: k
pair masks and one of the site's own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _harness import Cell, compare, main, say
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from flwr.common import ndarray_to_bytes
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    factor_combine,
    factor_extract,
    parameters_addition,
    parameters_mod,
    parameters_multiply,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.quantization import dequantize, quantize
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

from medquorum.privacy import wire
from medquorum.privacy.filters import Cost
from medquorum.privacy.heads import Head, SignedHead
from medquorum.privacy.plan import PlanSite
from medquorum.privacy.secure_aggregation import Session, derivation, ring, shamir
from medquorum.privacy.secure_aggregation.keystream import PIECE, Mask, apply_masks
from medquorum.privacy.secure_aggregation.steps import Masked

FLOWER = "flwr 1.41 SecAgg+"
# Flower's defaults: clipping range, target range, modulus range.
CLIP, TARGET, MODULUS = 8.0, 1 << 22, 1 << 32
NOTES = (
    "client masking: from a float update to the masked integers, quantising included on both sides",
    "server: reconstruct, unmask, dequantise",
    "key agreement is outside both, but for a dropped site's pair keys, which are derived in our server's time only",
    "the bare loop adds the same number of AES-256-CTR keystreams to a ring vector, in one thread, and nothing else",
    "Flower's masks carry 28 bits of entropy: its figures are for masks that do not protect",
)


def session(peers: int, length: int) -> Session:
    """A session of `peers` + 1 sites with equal counts."""
    sites = tuple(PlanSite(f"site{i:02d}", 100) for i in range(peers + 1))
    return Session("benchmark", bytes(32), "update", 1, 0, sites, 0, length, CLIP / 100)


def seconds(work: Callable[[], object]) -> Callable[[], float]:
    """A function that runs `work` once and returns how long it took."""

    def timed() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return timed


def our_vector(update: np.ndarray, terms: Session, keys: Sequence[bytes]) -> np.ndarray:
    """The masked vector, as `SecureSite` makes it."""
    masks = [Mask(key, 1 if i % 2 else -1) for i, key in enumerate(keys)]
    return ring.mask_vector(update, terms.limit("site00"), terms.step, masks, os.urandom(32))


# A ledger's head travels with the vector; its size is the ordinary one.
_HEAD = SignedHead(Head("site00", 40, bytes(32), 3, Cost(1.0, 1e-5, 0.5), bytes(16 * 33)), bytes(32), bytes(64))


def our_upload(update: np.ndarray, terms: Session, keys: Sequence[bytes]) -> bytes:
    """What a site sends."""
    return wire.encode(Masked(our_vector(update, terms, keys).tobytes(), _HEAD))


def flower_vector(update: np.ndarray, keys: Sequence[bytes]) -> list[Any]:
    """The masked vector, step by step as Flower's SecAgg+ mod makes it."""
    vector: list[Any] = factor_combine(TARGET, quantize(parameters_multiply([update], 1.0), CLIP, TARGET))
    shapes = [array.shape for array in vector]
    vector = parameters_addition(vector, pseudo_rand_gen(keys[0], MODULUS, shapes))
    for i, key in enumerate(keys[1:]):
        mask = pseudo_rand_gen(key, MODULUS, shapes)
        vector = parameters_addition(vector, mask) if i % 2 else parameters_subtraction(vector, mask)
    return parameters_mod(vector, MODULUS)


def flower_upload(update: np.ndarray, keys: Sequence[bytes]) -> list[bytes]:
    """What a Flower client sends."""
    return [ndarray_to_bytes(array) for array in flower_vector(update, keys)]


def bare_loop(length: int, keys: Sequence[bytes]) -> None:
    """Keystream and addition, in the same pieces, and nothing else."""
    total, buffer, zeros = np.zeros(length, dtype="<u4"), np.empty(PIECE, dtype="<u4"), bytes(4 * PIECE)
    ciphers = [Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor() for key in keys]
    for start in range(0, length, PIECE):
        piece = total[start : start + PIECE]
        stream = buffer[: piece.size]
        for cipher in ciphers:
            cipher.update_into(zeros[: 4 * piece.size], stream.data.cast("B"))
            np.add(piece, stream, out=piece)


def our_opening(total: np.ndarray, terms: Session, dropped: int, transcript: bytes) -> Callable[[], object]:
    """What `SecureCoordinator` does between the last answers and the opened sum."""
    names, t = terms.names, terms.threshold
    alive, gone = names[dropped:], names[:dropped]
    seeds = {name: dict(enumerate(shamir.split(os.urandom(32), t, len(names)), 1)) for name in alive}
    privates = {name: os.urandom(32) for name in names}
    publics = {name: derivation.public_key(privates[name]) for name in names}
    lost = {name: dict(enumerate(shamir.split(privates[name], t, len(names)), 1)) for name in gone}

    def first(shares: dict[int, bytes]) -> bytes:
        return shamir.combine({point: shares[point] for point in list(shares)[:t]})

    def open_sum() -> None:
        masks = [Mask(derivation.self_key(first(shares), transcript, name), -1) for name, shares in seeds.items()]
        for name, shares in lost.items():
            private = first(shares)
            masks += [Mask(derivation.pair_key(private, publics[p], transcript, name, p), 1) for p in alive]
        apply_masks(masks, total)
        ring.open_vector(total, terms.step)

    return open_sum


def flower_opening(total: np.ndarray, terms: Session, dropped: int) -> Callable[[], object]:
    """What Flower's SecAgg+ workflow does after the last answers; a dropped site's pair seeds count as derived."""
    count, t = len(terms.names), terms.threshold
    shares = [create_shares(os.urandom(32), t, count)[:t] for _ in range(count)]
    pair_seeds = [os.urandom(32) for _ in range(dropped * (count - dropped))]

    def open_sum() -> None:
        vector: list[Any] = [np.array([TARGET]), total]
        shapes = [array.shape for array in vector]
        for held in shares[dropped:]:
            vector = parameters_subtraction(vector, pseudo_rand_gen(combine_shares(held), MODULUS, shapes))
        for held in shares[:dropped]:
            combine_shares(held)
        for i, seed in enumerate(pair_seeds):
            mask = pseudo_rand_gen(seed, MODULUS, shapes)
            vector = parameters_addition(vector, mask) if i % 2 else parameters_subtraction(vector, mask)
        factor, rest = factor_extract(parameters_mod(vector, MODULUS))
        parameters_multiply(dequantize(rest, CLIP, TARGET), 1.0 / max(int(factor), 1))

    return open_sum


def cells(length: int, peers: int, runs: int) -> list[Cell]:
    """All comparisons of one size and cohort."""
    case, terms = f"{length / 1e6:g}M parameters, {peers} peers", session(peers, length)
    update = np.random.default_rng(1).normal(scale=1e-2, size=length)
    single = update.astype(np.float32)
    keys = [os.urandom(32) for _ in range(peers + 1)]
    ours, upload = seconds(lambda: our_vector(update, terms, keys)), seconds(lambda: our_upload(update, terms, keys))
    flower, flower_up = seconds(lambda: flower_vector(single, keys)), seconds(lambda: flower_upload(single, keys))
    bare = seconds(lambda: bare_loop(length, keys))
    found = [
        compare(f"client masking, {case}", ours, flower, FLOWER, "s", "cost", runs),
        compare(f"client masking, {case}", ours, bare, "bare loop", "s", "cost", 3 * runs),
        compare(f"client masking and serialising, {case}", upload, flower_up, FLOWER, "s", "cost", runs),
    ]
    total = np.random.default_rng(2).integers(0, 2**32, length + 1, dtype="<u4")
    theirs = total[:-1].astype(np.int64)
    for dropped in (0, 1):
        what = f"server unmasking, {dropped} dropped, {case}"
        opening = seconds(our_opening(total, terms, dropped, bytes(32)))
        found += [compare(what, opening, seconds(flower_opening(theirs, terms, dropped)), FLOWER, "s", "cost", runs)]
    our_bytes, flower_bytes = len(our_upload(update, terms, keys)), sum(map(len, flower_upload(single, keys)))
    for other, name in ((flower_bytes, FLOWER), (4 * length, "4 bytes a parameter")):
        found.append(compare(f"upload, {case}", lambda: our_bytes, lambda other=other: other, name, "bytes", "cost", 1))
    return found


def measure(quick: bool) -> list[Cell]:
    """1M and 11M parameters with 3 and 10 peers; --quick does the small ones only."""
    found: list[Cell] = []
    for length in (1_000_000,) if quick else (1_000_000, 11_000_000):
        for peers in (3, 10):
            say(f"{length} parameters, {peers} peers")
            found += cells(length, peers, 3 if quick else 5)
    return found


if __name__ == "__main__":
    main("secure_aggregation", __doc__ or "", measure, NOTES)
