"""The gate that nothing gets past: files from outside are read by shut-in workers, inside limits, or not at all."""

from __future__ import annotations

from .allowed import SOP_CLASSES, TRANSFER_SYNTAXES
from .examine import Examined
from .gate import GATE_LIMITS, Examiner, Gate, GateError
from .inprocess import InProcess
from .probing import Probe, probe
from .sandbox import SandboxLevel

__all__ = [
    "GATE_LIMITS",
    "SOP_CLASSES",
    "TRANSFER_SYNTAXES",
    "Examined",
    "Examiner",
    "Gate",
    "GateError",
    "InProcess",
    "Probe",
    "SandboxLevel",
    "probe",
]
