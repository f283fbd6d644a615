"""Images per second from stored files to stored proposals, beside a bare loop of the same forward passes.

Ours reads each image from the encrypted store, runs the network, finds regions and commits the proposals. The
alternative has every input decoded in memory already and only runs the network, at the same batch size and with the
same number of threads. Real radiographs are used where ../shared/data/cxr_pediatric is;
otherwise generated ones, and the case says which.
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _harness import Cell, compare, cores, main, say
from _subjects import dicom_of_12_bits, radiograph, release
from PIL import Image

from medquorum.client.gate import InProcess
from medquorum.client.inputs import Inputs
from medquorum.client.intake import Table, import_dicom, import_table
from medquorum.client.propose import propose
from medquorum.client.store import Store
from medquorum.models.checkpoint import Release

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "cxr_pediatric"
BATCH = 32
ALONE = "forward passes alone"
SIDE_BY_SIDE = "forward passes alone, batches side by side"
NOTES = (
    "ours: read and decrypt the kept input, forward pass, regions, commit to disk (durable); building the network and "
    "finding the images to propose for are included; half of the images get regions",
    "first release after import: the input is made from the preview that import kept, and is kept in its turn",
    "alternatives: forward passes over inputs already decoded in memory, same batch size and threads; either each "
    "layer is split over the threads (torch's default), or each thread takes a batch of its own, as ours does",
    "import (decoding the originals once) is outside both and is given for itself on standard error",
)


def real_images(store: Store, count: int, folder: Path) -> str:
    """Import the first `count` images of the paediatric set; returns what they are."""
    with (REAL / "labels.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))[:count]
    table = folder / "labels.csv"
    with table.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ("file", "patient"))
        writer.writeheader()
        writer.writerows({"file": row["file"], "patient": row["patient_id"]} for row in rows)
    import_table(store, REAL, Table(table))
    return "real paediatric radiographs, JPEG 224 px"


def generated_pngs(store: Store, count: int, folder: Path) -> str:
    """Import `count` generated PNG files; returns what they are."""
    generator = np.random.default_rng(7)
    lines = ["file,patient"]
    for number in range(count):
        picture = Image.fromarray((radiograph(generator, 224) >> 4).astype(np.uint8))
        picture.save(folder / f"{number}.png")
        lines.append(f"{number}.png,P{number // 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    import_table(store, folder, Table(folder / "labels.csv"))
    return "generated images, PNG 224 px"


def generated_dicom(store: Store, count: int, folder: Path) -> str:
    """Import `count` generated full-size DX files; returns what they are."""
    generator = np.random.default_rng(7)
    pixels = radiograph(generator, 2048)
    for number in range(count):
        shifted = np.roll(pixels, 16 * number, axis=1)
        more = {"PatientID": f"P{number // 2}", "WindowCenter": "2048", "WindowWidth": "4096"}
        (folder / f"{number}.dcm").write_bytes(dicom_of_12_bits(shifted, number, **more))
    import_dicom(store, folder, InProcess())
    return "generated DICOM, 2048 x 2048 at 12 bits"


def measure(quick: bool) -> Sequence[Cell]:
    """Small rasters at two sizes of the network's input, and full-size DICOM."""
    torch.set_num_threads(cores())
    small = real_images if REAL.is_dir() else generated_pngs
    if quick:
        return [*cells(small, 96, 128, 1), *cells(generated_dicom, 16, 128, 1)]
    return [*cells(small, 512, 128, 7), *cells(small, 512, 224, 5), *cells(generated_dicom, 64, 128, 5)]


class Subject:
    """A store filled by `fill`, a release, and the same images decoded in memory."""

    def __init__(self, scratch: Path, fill: Callable[[Store, int, Path], str], count: int, size: int) -> None:
        self.release = release(size)
        self.network = self.release.network()
        (scratch / "files").mkdir(parents=True)
        began = time.perf_counter()
        self.store = Store.create(scratch / "store", "benchmark")
        self.what = fill(self.store, count, scratch / "files")
        self.rows = self.store.instances()
        say(f"{self.what}: {len(self.rows)} taken in in {time.perf_counter() - began:.1f} s, making them included")

    def decode(self) -> None:
        """Make every input, and let half of the images show the finding, so that half get regions."""
        found = Inputs(self.store, self.release.card.transform).load([(row, 0) for row in self.rows])
        self.batches = torch.from_numpy(np.stack(found)).split(BATCH)
        with torch.inference_mode():
            logits = torch.cat([self.network(batch).logits for batch in self.batches])
            bias = next(value for name, value in self.network.head.named_parameters() if name == "map.bias")
            bias -= logits.median()
        self.release = Release.of(self.network, self.release.card)

    def propose(self) -> float:
        """Images per second by ours."""
        # Another temperature is another release, which has proposed nothing yet.
        card = replace(self.release.card, temperatures=(self.release.card.temperatures[0] * 1.001,))
        self.release = Release(card, self.release.tensors)
        report = propose(self.store, self.release, BATCH, threads=torch.get_num_threads())
        assert report.proposed == len(self.rows)
        return report.proposed / report.seconds

    def layers_split(self) -> float:
        """Images per second of forward passes, one batch after another, each layer split over all threads."""
        start = time.perf_counter()
        with torch.inference_mode():
            for batch in self.batches:
                self.network(batch)
        return len(self.rows) / (time.perf_counter() - start)

    def side_by_side(self) -> float:
        """Images per second of forward passes, as many batches at once as threads, each on one thread, as ours."""

        def forward(batch: torch.Tensor) -> None:
            with torch.inference_mode():
                self.network(batch)

        threads = torch.get_num_threads()
        start = time.perf_counter()
        with ThreadPoolExecutor(threads, "bare", torch.set_num_threads, (1,)) as pool:
            list(pool.map(forward, self.batches))
        seconds = time.perf_counter() - start
        torch.set_num_threads(threads)
        return len(self.rows) / seconds


def cells(fill: Callable[[Store, int, Path], str], count: int, size: int, runs: int) -> list[Cell]:
    """Compare for one kind of stored file: with inputs kept from an earlier release, and right after import."""
    with tempfile.TemporaryDirectory() as scratch:
        subject = Subject(Path(scratch) / "0", fill, count, size)
        subject.decode()
        threads = torch.get_num_threads()
        name = f"{subject.what}; small CNN at {size} px, batches of {BATCH}, {threads} threads"
        fresh = 0

        def after_import() -> float:
            nonlocal fresh
            fresh += 1
            new = Subject(Path(scratch) / str(fresh), fill, count, size)
            new.release = subject.release
            rate = new.propose()
            new.store.close()
            return rate

        found = [
            compare(name, subject.propose, subject.layers_split, ALONE, "images/s", "rate", runs),
            compare(name, subject.propose, subject.side_by_side, SIDE_BY_SIDE, "images/s", "rate", runs),
            compare(
                f"{name}; first release after import",
                after_import,
                subject.layers_split,
                ALONE,
                "images/s",
                "rate",
                (runs + 1) // 2,
            ),
        ]
        subject.store.close()
        return found


if __name__ == "__main__":
    main("propose", __doc__.splitlines()[0], measure, NOTES)
