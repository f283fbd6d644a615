"""The program that a worker runs: `python -m medquorum.client.gate.worker`, one file after another, shut in.

It imports what it needs, gives up its rights, says how far it could, and then answers requests on standard input until
that is closed. Whatever a file makes it do, it can read, compute and answer; it cannot connect, write, or start
anything. Memory that runs out is an answer as well, and the gate then takes a fresh worker.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from ..deidentify import Deidentification
from ..pixels import Limits, UnreadableError, image_header, open_dicom, stored_frame
from ..pixels.unreadable import first_line
from .directory import referenced_files
from .examine import examine
from .frames import BrokenPipeline, receive, send
from .sandbox import enter
from .warm import warm


def main(seconds: float, memory: int) -> None:
    """Serve requests; `seconds` of processor time are the most that one may take, `memory` the most bytes."""
    source, answers = _take_pipes()
    # Stopping the node by a terminal or by systemd signals every process; the file at hand is to be finished, and the
    # end of the pipe is what ends a worker.
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.SIG_IGN)
    warm()
    level = enter(memory)
    send(answers, asdict(level))
    while True:
        try:
            request, content = receive(source, sys.maxsize)
        except BrokenPipeline:
            return
        # Its default action ends this process, which the gate notices at once.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        header, body = _answer(request, bytes(content))
        signal.setitimer(signal.ITIMER_PROF, 0)
        try:
            send(answers, header, body)
        except BrokenPipeline:
            return
        del content, body


def _take_pipes() -> tuple[int, int]:
    """Move the pipes away from where a library might print, and put nothing in their place."""
    source, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)
    return source, answers


def _answer(request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes | memoryview]:
    try:
        limits = Limits(**request["limits"])
        match request["do"]:
            case "frame":
                return _frame(content, request["frame"], limits)
            case "directory":
                return {"files": referenced_files(content, limits)}, b""
            case _:
                return _examined(content, limits, request)
    except UnreadableError as fault:
        return {"code": fault.code, "what": fault.what}, b""
    except MemoryError:
        return {"code": "too-large", "what": "there is not enough memory to decode it", "retire": True}, b""
    except RecursionError:
        return {"code": "too-deep", "what": "its sequences are nested too deeply to be read"}, b""
    except Exception as error:  # pydicom and the decoders raise whatever a broken file made them trip over
        return {"code": "bad-header", "what": f"it cannot be read ({first_line(error)})"}, b""


def _examined(content: bytes, limits: Limits, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    how = Deidentification.from_plain(request["how"]) if request["how"] is not None else None
    examined = examine(content, limits, request["classes"], how)
    found = {field.name: getattr(examined, field.name) for field in fields(examined)}
    preview, stored, original = found.pop("preview"), found.pop("content"), found.pop("original")
    found["original"] = None if original is None else original.plain()
    found["preview_bytes"] = len(preview)
    return found, preview + stored


def _frame(content: bytes, number: int, limits: Limits) -> tuple[dict[str, Any], memoryview]:
    dataset = open_dicom(content, limits)
    header = image_header(dataset, limits)
    stored, space = stored_frame(dataset, header, number, limits)
    plain = np.ascontiguousarray(stored)
    return {"shape": plain.shape, "dtype": plain.dtype.str, "space": space}, memoryview(plain.tobytes())


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
