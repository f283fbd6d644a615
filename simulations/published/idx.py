"""The idx format: a magic number, the dimensions, and bytes (the files of MNIST and its relatives)."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import StudyError

_UNSIGNED_BYTE = 8
_LARGEST = 1 << 31


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an idx file, plain or gzip, with that many dimensions.

    StudyError when the file is missing, damaged, or holds something else.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            with gzip.open(path) as file:
                content = file.read(_LARGEST)
    except FileNotFoundError:
        raise StudyError("there is no such file", where=str(path), fix="check --data and the study's [data]") from None
    except (OSError, EOFError, zlib.error) as error:
        raise StudyError(f"cannot be read: {error}", where=str(path), fix="give an intact file") from None
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes((0, 0, _UNSIGNED_BYTE, dimensions)):
        raise StudyError(
            f"not an idx file of unsigned bytes with {dimensions} dimensions",
            where=str(path),
            fix="give images as (images, rows, columns) and labels as (images)",
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    if len(content) != start + math.prod(shape):
        raise StudyError(
            f"{len(content) - start} bytes where {shape} needs {math.prod(shape)}",
            where=str(path),
            fix="give the whole file",
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
