"""What a node may do only because its hospital does not exist."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SimulationRights:
    """Opens a node as a simulated hospital: it answers plain sums, and plans without privacy, whose
    evaluations are exact.

    seed: of sampling and noise, so that a study repeats exactly; None draws both from the operating system. Only the
    process that opens the node can give these rights; no message can.
    """

    seed: int | None = None
