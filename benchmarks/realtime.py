"""Latency of a proposal by the real-time service, from a viewer's call to its answer, beside the bare forward pass.

Ours sends a whole DICOM file over TLS, has it examined in a worker that is shut in, passes it through the network and
sends findings and regions back; the caller's connection is open, as a viewer's is. The alternative has the input in
memory and runs the network alone. Small files and full-size radiographs, one caller and several.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import torch
from _harness import Cell, cores, main, say
from _subjects import dicom_of_12_bits, radiograph, release

from medquorum.client.gate import Gate
from medquorum.client.node import Node
from medquorum.client.realtime.looking import lender
from medquorum.client.realtime.proposals_pb2 import Image, Proposal
from medquorum.client.realtime.service import METHOD, Service, allow
from medquorum.client.realtime.serving import serving
from medquorum.client.releases import Releases
from medquorum.privacy.certificates import Issued

SIZE = 224
NOTES = (
    "ours: TLS, gRPC, the gate's worker (parsing, checks, display pipeline), preparing, forward pass, regions, answer",
    "p50 and p95 of single calls, each timed by the caller; ratios are of these",
)


def dicom_file(side: int) -> bytes:
    """A generated DX file of side x side pixels at 12 bits."""
    return dicom_of_12_bits(radiograph(np.random.default_rng(7), side), 1)


class Viewer:
    """A caller with an open connection."""

    def __init__(self, port: int, issued: Issued) -> None:
        credentials = grpc.ssl_channel_credentials(
            issued.authority.read_bytes(), issued.key.read_bytes(), issued.certificate.read_bytes()
        )
        options = [("grpc.use_local_subchannel_pool", 1)]  # otherwise all callers of a process share one connection
        self._channel = grpc.secure_channel(f"localhost:{port}", credentials, options)
        self._call = self._channel.stream_stream(METHOD, Image.SerializeToString, Proposal.FromString)

    def ask(self, content: bytes) -> float:
        """Milliseconds from asking to the answer."""
        began = time.perf_counter()
        (answer,) = self._call(iter([Image(id="1", instance=content)]), timeout=120.0)
        assert answer.applicable, answer.reason
        return 1000.0 * (time.perf_counter() - began)


def bare(times: int) -> list[float]:
    """Milliseconds of single forward passes."""
    network, image = release(SIZE).network(), torch.rand(1, 1, SIZE, SIZE)
    took: list[float] = []
    with torch.inference_mode():
        for _ in range(times + 5):
            began = time.perf_counter()
            network(image)
            took.append(1000.0 * (time.perf_counter() - began))
    return took[5:]


def cells(case: str, latencies: Callable[[int], list[float]], times: int, rounds: int) -> list[Cell]:
    """p50 and p95 beside the bare forward pass, measured in turn."""
    ours: list[list[float]] = []
    alone: list[list[float]] = []
    latencies(3)
    for turn in range(rounds):
        for kept, measured in ((ours, latencies), (alone, bare))[:: 1 if turn % 2 else -1]:
            kept.append(measured(times))
    found: list[Cell] = []
    for name, share in (("p50", 50.0), ("p95", 95.0)):
        mine = [float(np.percentile(one, share)) for one in ours]
        theirs = [float(np.percentile(one, share)) for one in alone]
        ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
        a, b = statistics.median(mine), statistics.median(theirs)
        spread = (min(ratios), max(ratios))
        found.append(Cell(f"{case}, {name}", a, b, "forward pass alone", "ms", a / b, rounds * times, spread))
        say(f"{case}, {name}: {a:.3g} against {b:.3g} ms")
    return found


def measure(quick: bool) -> Sequence[Cell]:
    """Two sizes of file with one caller, and the smaller with many callers at once."""
    torch.set_num_threads(cores())
    times, rounds = (10, 2) if quick else (60, 5)
    with tempfile.TemporaryDirectory() as scratch, Gate() as gate:
        folder = Path(scratch) / "node"
        Node.create(folder, "benchmark").close()
        Releases(folder / "releases").adopt(release(SIZE))
        with serving(folder, gate, lender(folder / "store"), "127.0.0.1:0", ()) as service:
            return _measured(folder, service, times, rounds)


def _measured(folder: Path, service: Service, times: int, rounds: int) -> list[Cell]:
    issued = allow(folder, "benchmark", folder / "viewer")
    viewer = Viewer(service.port, issued)
    found: list[Cell] = []
    for side in (256, 2048):
        content = dicom_file(side)
        what = f"{side} x {side} at 12 bits ({len(content) / 1e6:.1f} MB), small CNN at {SIZE} px"
        found += cells(
            f"{what}, one caller", lambda n, sent=content: [viewer.ask(sent) for _ in range(n)], times, rounds
        )
    callers = [Viewer(service.port, issued) for _ in range(50)]
    content = dicom_file(256)

    def together(times: int) -> list[float]:
        with ThreadPoolExecutor(len(callers)) as pool:
            turns = max(1, times // 20)
            asked = [pool.submit(caller.ask, content) for _ in range(turns) for caller in callers]
            return [one.result() for one in asked]

    return found + cells(f"256 x 256 at 12 bits, small CNN at {SIZE} px, 50 callers at once", together, times, rounds)


if __name__ == "__main__":
    main("realtime", __doc__.splitlines()[0], measure, NOTES)
