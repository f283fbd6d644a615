"""De-identification beside dicognito and Kitware's dicom-anonymizer: how fast, and what survives of marked files.

Speed: from a file's bytes in memory to the de-identified file's bytes in memory, one process and one thread each; small
headers are a hundred elements before 32 kB of pixels, large files the same before 10 MB.

Marks: `tests/phi_files.py` fills every element of table E.1-1 at every depth, all other text attributes, private,
unknown, curve and overlay elements, file meta and the bytes around the data set with values of their own, in one file
for each character set; a mark survives when any form of it is found in the bytes or in the decoded values of what a
tool writes. Each tool runs as it comes, on its newest table; a file that it fails on counts as written unchanged.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np
from _harness import Cell, compare, main, say
from dicognito.anonymizer import Anonymizer
from dicom_files import dicom
from dicomanonymizer.simpledicomanonymizer import anonymize_dataset, initialize_actions
from phi_files import CHARACTER_SETS, PLACES, haystack, marked_file, surviving
from pydicom import dcmread
from pydicom.dataset import Dataset

from medquorum.client.deidentify import Keys, Profile, deidentify, file_bytes
from medquorum.client.pixels import open_dicom

Tool = Callable[[bytes], bytes]
_KEYS = Keys(bytes(range(32)))


def ours(content: bytes) -> bytes:
    """medquorum with its default profile."""
    return file_bytes(deidentify(open_dicom(content), Profile(), _KEYS).dataset)


def with_dicognito(anonymizer: Anonymizer, content: bytes) -> bytes:
    """dicognito, one anonymizer for all files, as its own command does it."""
    dataset = dcmread(BytesIO(content))
    anonymizer.anonymize(dataset)
    return _saved(dataset)


def with_kitware(content: bytes) -> bytes:
    """Kitware's dicom-anonymizer with its table of 2026c."""
    dataset = dcmread(BytesIO(content))
    anonymize_dataset(dataset, base_rules_gen=partial(initialize_actions, "dicomfields_2026c"))
    return _saved(dataset)


def _saved(dataset: Dataset) -> bytes:
    out = BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def tools() -> dict[str, Tool]:
    """The alternatives, by name."""
    return {
        "dicognito 0.19": partial(with_dicognito, Anonymizer(seed="benchmark")),
        "dicom-anonymizer 2.1": with_kitware,
    }


def measure(quick: bool) -> Sequence[Cell]:
    """Speed first, then the marks, whose table goes to standard error as well."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    return [*_speed(quick), *_marks(quick)]


def _speed(quick: bool) -> list[Cell]:
    small = [dicom(np.zeros((128, 128), np.uint16), number, PatientName=f"Name^{number}") for number in range(20)]
    small = [_with_header(content) for content in small]
    large = [_with_header(dicom(np.zeros((2236, 2236), np.uint16), number)) for number in range(4)]
    cells: list[Cell] = []
    for case, files in (("small headers", small), ("files of 10 MB", large)):
        for name, tool in tools().items():
            mine, theirs = _rate(ours, files), _rate(tool, files)
            runs = 2 if quick else 9
            cells.append(compare(f"files/s, {case}", mine, theirs, name, "files/s", "rate", runs))
    return cells


def _with_header(content: bytes) -> bytes:
    """The file with as many ordinary attributes as a scanner writes: about a hundred, some in sequences."""
    dataset = dcmread(BytesIO(content))
    for number in range(12):
        dataset.add_new(0x00181110 + number, "DS", "1099.31")
    for tag in (0x00080020, 0x00080021, 0x00080022, 0x00080023):
        dataset.add_new(tag, "DA", "20240102")
        dataset.add_new(tag + 0x10, "TM", "101500.123")
    for tag in (0x00080080, 0x00080081, 0x00081010, 0x00081030, 0x0008103E, 0x00081090, 0x00181000, 0x00181030):
        dataset.add_new(tag, "LO", "St. Example's")
    for tag in (0x00080090, 0x00081050, 0x00081070, 0x00081060):
        dataset.add_new(tag, "PN", "Doctor^Who")
    for number in range(30):
        dataset.add_new(0x00091001 + number, "LO", "private")
    dataset.add_new(0x00090010, "LO", "MAKER")
    code = dcmread(BytesIO(dicom(np.zeros((1, 1), np.uint16))))
    for keyword in ("PixelData", "PatientID", "PatientName"):
        if keyword in code:
            delattr(code, keyword)
    dataset.ReferencedImageSequence = [code]
    dataset.AnatomicRegionSequence = [code]
    return _saved(dataset)


def _rate(tool: Tool, files: Sequence[bytes]) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter()
        for content in files:
            tool(content)
        return len(files) / (time.perf_counter() - start)

    return run


def _marks(quick: bool) -> list[Cell]:
    sets = ["ir100", "jp87"] if quick else list(CHARACTER_SETS)
    placed: Counter[str] = Counter()
    left: dict[str, Counter[str]] = {}
    failed: Counter[str] = Counter()
    others = tools()
    for character_set in sets:
        marked = marked_file(character_set)
        placed.update(mark.place for mark in marked.marks)
        for name, tool in {"medquorum": ours, **others}.items():
            try:
                written = tool(marked.content)
            except Exception as error:  # a tool that gives up has removed nothing
                say(f"{name} fails on {character_set}: {type(error).__name__}")
                failed[name] += 1
                written = marked.content
            found = surviving(marked.marks, haystack(written))
            left.setdefault(name, Counter()).update(mark.place for mark in found)
    names = ["medquorum", *others]
    say("marks surviving | of | " + " | ".join(f"{name} ({failed[name]} failed)" for name in names))
    for place in PLACES:
        say(" | ".join([place, str(placed[place]), *(str(left[name][place]) for name in names)]))
    return [_removed(place, placed[place], left["medquorum"][place], left[name][place], name)
            for name in others for place in PLACES]  # fmt: skip


def _removed(place: str, placed: int, mine: int, theirs: int, name: str) -> Cell:
    """How many of a place's marks are gone: a figure of which more is better. The ratio counts one more of each, so
    that it is defined where a tool removes none."""
    gone, gone_there = placed - mine, placed - theirs
    ratio = (gone_there + 1) / (gone + 1)
    return Cell(f"marks removed, {place}", gone, gone_there, name, f"of {placed}", ratio, 1, (ratio, ratio))


if __name__ == "__main__":
    main(
        "deidentify",
        __doc__ or "",
        measure,
        ("medquorum keeps UIDs and patients consistent by a keyed hash; burned-in text is not looked for here",),
    )
