"""Every byte that reaches the coordinator in a whole federation, on the wire and after TLS: what is not among them."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import zlib
from collections.abc import Generator

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2
from tapped import ROUNDS, SITES, Capture, captured

from medquorum.client.network.fleet import tls_context
from medquorum.privacy import wire
from medquorum.privacy.errors import WireError
from medquorum.privacy.messages import Countersignature, StepAnswer
from medquorum.privacy.secure_aggregation.steps import Masked
from medquorum.server.network.front_door import FLEET_ROUTES
from medquorum.server.network.superlink import LOOPBACK

# Two-sided bound on a chi-square test's p-value: a true uniform vector fails with probability 1e-9.
LEAST_P = 1e-9
TLS_1_3 = b"\x03\x04"

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Generator[Capture]:
    with captured(tmp_path_factory.mktemp("saw")) as found:
        yield found


def disguises(secret: bytes) -> list[bytes]:
    """A secret as it is, and as it would look in base64 at each of the three alignments, in hexadecimal, in UTF-16."""
    found = [secret, secret.hex().encode(), secret.hex().upper().encode()]
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            coded = encode(b"\0" * shift + secret)
            found.append(coded[4 if shift else 0 : len(coded) - 4])
    with contextlib.suppress(UnicodeDecodeError):
        found.append(secret.decode().encode("utf-16-le"))
    return found


def unpacked(data: bytes) -> list[bytes]:
    """Whatever zlib, gzip or raw deflate streams begin anywhere in the data at one of their usual headers."""
    found: list[bytes] = []
    for header in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b\x08"):
        at = data.find(header)
        while at >= 0:
            with contextlib.suppress(zlib.error):
                found.append(zlib.decompressobj(47).decompress(data[at:], 1 << 20))
            at = data.find(header, at + 1)
    return [one for one in found if len(one) >= 8]


def test_the_tap_hears_everything(capture: Capture) -> None:
    """Without this, what follows would also hold of a tap that is deaf."""
    seen = capture.service.everything
    assert b"north" in seen
    masked = [one for one in capture.answers() if isinstance(one, StepAnswer)]
    # Five exchanges by four sites in each round, whatever was attempted again on top.
    assert len(masked) >= 5 * len(SITES) * ROUNDS
    assert {site for site, _, _ in capture.updates} == set(SITES)


def test_no_name_of_a_patient_a_file_or_a_reader_is_in_it(capture: Capture) -> None:
    seen = capture.service.everything
    for haystack in (seen, *unpacked(seen)):
        for word in ("Wilhelmina", "Quartzovic", "MRN88231", "-0-0.png", f"1.2.{sum(b'east')}.0.0"):
            assert not any(form in haystack for form in disguises(word.encode())), word


def test_no_weights_or_update_of_one_site_are_in_it(capture: Capture) -> None:
    seen = capture.service.everything
    haystacks = [seen, *unpacked(seen)]
    for _, start, update in capture.updates:
        begun = np.frombuffer(start, dtype="<f4").astype(np.float64)
        mean = update / 20.0
        for values in (update, mean, begun + mean):
            for kind in ("<f4", "<f8", ">f4", ">f8", "<f2"):
                data = values.astype(kind).tobytes()
                size = np.dtype(kind).itemsize
                # Four values in a row: at 16 bits and more each, chance does not find them.
                for at in range(0, len(data) - 4 * size, 16 * size):
                    piece = data[at : at + 4 * size]
                    if any(piece) and not start.count(piece):
                        assert not any(piece in haystack for haystack in haystacks), (kind, at)


def test_no_private_count_and_no_metric_is_in_it(capture: Capture) -> None:
    """A node's messages hold whole numbers and real ones in known places only: the round, the attempt, its cap."""

    def numbers(value: object) -> list[int | float]:
        if isinstance(value, bool):
            return []
        if isinstance(value, int | float):
            return [value]
        if isinstance(value, tuple | list):
            return [one for item in value for one in numbers(item)]
        if dataclasses.is_dataclass(value):
            return [one for part in dataclasses.fields(value) for one in numbers(getattr(value, part.name))]
        return []

    for answer in capture.answers():
        if isinstance(answer, StepAnswer):
            assert answer.round in range(1, ROUNDS + 1) and numbers(answer) == [answer.round, answer.attempt]
            assert answer.attempt <= 3
        elif isinstance(answer, Countersignature):
            assert numbers(answer) == [50.0]
        else:
            assert numbers(answer) == []


def chi_square_p(values: NDArray[np.uint8]) -> float:
    """The p-value of Pearson's test that all 256 values of a byte are alike likely."""
    counts = np.bincount(values, minlength=256)
    expected = len(values) / 256.0
    return float(chi2.sf(float(((counts - expected) ** 2 / expected).sum()), 255))


def test_every_masked_vector_is_indistinguishable_from_uniform(capture: Capture) -> None:
    """Each of the four bytes of the 32-bit values by itself, and all differences of neighbours, by chi-square tests."""
    vectors: list[NDArray[np.uint32]] = []
    for answer in capture.answers():
        if isinstance(answer, StepAnswer):
            with contextlib.suppress(WireError):
                vectors.append(np.frombuffer(wire.decode(Masked, answer.payload).vector, dtype="<u4"))
    assert len(vectors) >= len(SITES) * ROUNDS
    for vector in vectors:
        for values in (vector, np.diff(vector)):
            columns = values.astype("<u4").view(np.uint8).reshape(-1, 4)
            for place in range(4):
                assert chi_square_p(columns[:, place].copy()) > LEAST_P, place
    # The same test on what the masks hide: it can fail, and would.
    _, _, update = capture.updates[0]
    bare = np.round(update / np.abs(update).max() * 2**20).astype(np.int64).astype(np.uint32)
    assert chi_square_p(bare.view(np.uint8).reshape(-1, 4)[:, 3].copy()) < LEAST_P


def test_on_the_wire_there_is_tls_1_3_and_nothing_else(capture: Capture) -> None:
    assert len(capture.relay.said) >= len(SITES)
    whole = [(bytes(client), bytes(server)) for client, server in capture.relay.said if client and server]
    assert whole
    for client, server in whole:
        assert selected_version(server) == TLS_1_3
        for said in (client, server):
            kinds = records(said)
            assert kinds[0] == 22
            # Handshake, change_cipher_spec (for middle boxes) and encrypted records; no plaintext alert or data.
            assert set(kinds) <= {20, 22, 23}
            assert kinds.count(22) == 1
        assert b"medquorum" not in client + server and b"fleet" not in client + server


def records(said: bytes) -> list[int]:
    """Content types of the TLS records in a stream (RFC 8446, section 5.1), whole ones only."""
    found: list[int] = []
    at = 0
    while at + 5 <= len(said):
        assert said[at + 1 : at + 3] in (b"\x03\x01", b"\x03\x03")
        length = int.from_bytes(said[at + 3 : at + 5])
        assert length <= 16384 + 256
        found.append(said[at])
        at += 5 + length
    return found


def selected_version(server: bytes) -> bytes:
    """The version that the ServerHello's supported_versions extension selects (RFC 8446, section 4.2.1)."""
    assert server[0] == 22 and server[5] == 2
    at = 5 + 4 + 2 + 32
    at += 1 + server[at] + 2 + 1  # the session's id, the cipher suite, the compression method
    end = at + 2 + int.from_bytes(server[at : at + 2])
    at += 2
    while at + 4 <= end:
        kind, length = int.from_bytes(server[at : at + 2]), int.from_bytes(server[at + 2 : at + 4])
        if kind == 43:
            return server[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def test_flowers_other_interfaces_cannot_be_reached_from_outside(capture: Capture) -> None:
    allowed = {("fleet", route) for route in FLEET_ROUTES} | {("medquorum", "enrol"), ("medquorum", "consortium")}
    assert {tuple(path.split("/")[2:]) for path in capture.service.paths} <= allowed
    with httpx.Client(verify=tls_context(capture.authority), trust_env=False) as http:
        for path in (
            "control/start-run",
            "control/list-runs",
            "control/register-node",
            "runtime/pull-messages",
            "runtime/get-nodes",
            "fleet/get-fab",
            "fleet/register-node",
        ):
            assert http.post(f"https://{LOOPBACK}:{capture.port}/v1/{path}", content=b"").status_code == 404, path
        # The same door does answer what exists, so the refusals above say something.
        assert http.get(f"https://{LOOPBACK}:{capture.port}/v1/medquorum/consortium").status_code == 200
