"""Text burned into pixels: where it is suspected. A suspicion proves nothing, and neither does the lack of one.

rapidocr's text detector (a small network whose weights come in its wheel, run by onnxruntime on the CPU) looks for
what has the form of writing; nothing is read or sent. Faint, small, rotated and handwritten text escapes it, and edges,
scales and markers of the side may be taken for text. It takes a second or two for each image it looks at, and loading
it as long again, so it is loaded only where the profile asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# The detector sees a frame at most this long: the larger it is made, the longer it takes and the more large text it
# misses, the smaller, the more fine print.
_LONGEST = 1280
# Round a suspected place, as a share of its height: the detector's boxes cut the edges of letters.
_MARGIN = 0.25
_FEWEST_PIXELS = 16

# Columns x0 to x1 and rows y0 to y1 of stored pixels, the ends not included.
Place = tuple[int, int, int, int]


def suspected_text(images: Iterable[NDArray[np.float32]]) -> tuple[Place, ...]:
    """Places in which any of some frames of one size, (rows, columns) in [0, 1], seems to hold text."""
    found: set[Place] = set()
    for image in images:
        rows, columns = image.shape
        if min(rows, columns) < _FEWEST_PIXELS:
            continue
        grey = Image.fromarray((np.clip(image, 0.0, 1.0) * np.float32(255.0)).astype(np.uint8))
        grey.thumbnail((_LONGEST, _LONGEST))
        plane = np.asarray(grey)
        scale = columns / grey.width, rows / grey.height
        for corners in _detector()(np.repeat(plane[:, :, None], 3, axis=2)):
            found.add(_place(corners, scale, rows, columns))
    return tuple(sorted(found))


def _place(corners: NDArray[np.float32], scale: tuple[float, float], rows: int, columns: int) -> Place:
    x, y = corners[:, 0] * scale[0], corners[:, 1] * scale[1]
    margin = _MARGIN * float(y.max() - y.min()) + 1.0
    return (
        max(0, int(x.min() - margin)),
        max(0, int(y.min() - margin)),
        min(columns, int(np.ceil(x.max() + margin))),
        min(rows, int(np.ceil(y.max() + margin))),
    )


@cache
def _detector() -> Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]:
    """The detector alone, on one thread: from (rows, columns, 3) to the four corners (x, y) of each place."""
    import onnxruntime
    from rapidocr import RapidOCR

    onnxruntime.disable_telemetry_events()
    engine: Any = RapidOCR(
        params={
            "Global.use_det": True,
            "Global.use_cls": False,
            "Global.use_rec": False,
            "Global.log_level": "critical",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )

    def detect(image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        boxes = engine(image, use_det=True, use_cls=False, use_rec=False).boxes
        return [] if boxes is None else [np.asarray(corners, np.float32) for corners in boxes]

    return detect
