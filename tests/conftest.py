"""The order of the tests; and a study's result made by hand, for those of the report and of the command line."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from medquorum.simulations.results import (
    CalibrationBin,
    Effort,
    Estimate,
    RoundResult,
    SheetImage,
    SiteResult,
    StudyResult,
)

NAMES = (
    "St. Anna",
    "Northern Light",
    "Riverside University Hospital",
    "Harbour",
    "Sankt Georg",
    "Mount Vernon Children's",
    "Ospedale Maggiore",
    "Hôpital de la Croix-Rousse",
    "Kantonsspital",
    "Bay General",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole journeys first: they take longest, and one begun last would leave the suite's other process idle."""
    items.sort(key=lambda item: "scenarios" not in item.path.parts)


def _around(value: float, half: float) -> Estimate:
    return Estimate(value, max(0.0, value - half), min(1.0, value + half * 0.8))


def _png(values: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray((255 * np.clip(values, 0, 1)).astype(np.uint8)).save(target, "PNG")
    return target.getvalue()


def _sheet_image(place: int, site: str, finding: str) -> SheetImage:
    draw = np.random.default_rng(place)
    rows, columns = (96, 80) if place % 3 else (80, 112)
    y, x = np.mgrid[:rows, :columns] / rows
    lungs = sum(np.exp(-(((x - at) / 0.16) ** 2 + ((y - 0.5) / 0.3) ** 2)) for at in (0.25, 0.62))
    cy, cx = 0.3 + 0.4 * draw.random(), 0.2 + 0.45 * draw.random()
    spot = ((x - cx) / 0.12) ** 2 + ((y - cy) / 0.1) ** 2
    present = place % 4 != 3
    image = 0.75 - 0.5 * lungs + (0.25 * (spot < 1) if present else 0.0) + 0.05 * draw.standard_normal((rows, columns))
    near = ((x - cx - 0.04) / 0.14) ** 2 + ((y - cy + 0.03) / 0.13) ** 2
    return SheetImage(
        site=site,
        source=f"study{place:03}/image.dcm",
        finding=finding,
        probability=0.91 - 0.06 * place if present else 0.12,
        present=present,
        image=_png(image),
        heatmap=_png(np.exp(-near)[::8, ::8]),
        proposed=_png(near < 1) if present else b"",
        truth=_png(spot < 1) if present else b"",
    )


def _site(place: int, name: str, findings: tuple[str, ...]) -> SiteResult:
    studies = 14 + 3 * place
    return SiteResult(
        name=name,
        patients=60 + 15 * place,
        images=130 + 31 * place,
        train_patients=48 + 12 * place,
        held_out_patients=12 + 3 * place,
        prevalence=tuple(0.2 + 0.1 * ((place + n) % 4) for n in range(len(findings))),
        quarantined=(("scan/broken.dcm", "not a DICOM file"), ("scan/other.dcm", "not a DICOM file"))
        if place == 1
        else (),
        epsilon=7.931 if place else 7.2,
        epsilon_cap=8.0,
        delta=1e-5,
        noise_multiplier=1.31 + 0.05 * place,
        auroc_before=_around(0.49 + 0.012 * place, 0.08),
        auroc_after=None if place == 9 else _around(0.9 - 0.013 * place, 0.05),
        auroc_alone=None if place == 9 else _around(0.62 + 0.013 * place, 0.09),
        auroc_alone_everywhere=_around(0.6 + 0.015 * place, 0.04),
        calibration_error=0.05,
        dice=0.41 if place else None,
        pointing=0.72,
        bytes_sent=1_234_567 + 1000 * place,
        effort=Effort(
            studies=studies,
            actions=studies * (3.1 + 0.2 * place),
            seconds=studies * 18.0,
            by_hand_actions=studies * (6.0 + 0.3 * place),
            by_hand_seconds=studies * 31.0,
            accept_all_actions=studies * 4.6,
            accept_all_seconds=studies * 25.0,
            label_errors=0.04 + 0.003 * place,
            by_hand_errors=0.05,
        ),
    )


def made_result(sites: int = 4, findings: tuple[str, ...] = ("opacity", "nodule"), rounds: int = 12) -> StudyResult:
    """A believable result of that many hospitals; the same arguments give the same result."""
    names = NAMES[:sites]
    grown = [1.0 - math.exp(-0.35 * n) for n in range(1, rounds + 1)]
    return StudyResult(
        study="demo",
        seed=7,
        synthetic=True,
        engine="inprocess",
        aggregation="plain",
        mode="local",
        findings=findings,
        model="small, 48 px, width 16",
        parameters=48_210,
        sites=tuple(_site(place, name, findings) for place, name in enumerate(names)),
        rounds=tuple(
            RoundResult(
                round=n,
                survivors=names if n != 3 else names[:-1],
                missing=() if n != 3 else names[-1:],
                auroc=tuple(
                    _around(0.52 + (0.40 - 0.1 * place) * grown[n - 1], 0.05) for place in range(len(findings))
                ),
                update_norm=1.7 / n,
                epsilon=7.931 * math.sqrt(n / rounds),
                bytes_sent=420_000,
                seconds=1.5,
            )
            for n in range(1, rounds + 1)
        ),
        auroc_before=_around(0.51, 0.03),
        federated=_around(0.87, 0.02),
        pooled=_around(0.89, 0.02),
        calibration=tuple(
            CalibrationBin((n + 0.5) / 10, min(1.0, max(0.0, (n + 0.5) / 10 + (-1) ** n * 0.05)), 40 - 6 * abs(5 - n))
            for n in range(10)
        ),
        calibration_error=0.046,
        sheet=tuple(_sheet_image(n, names[n % sites], findings[n % len(findings)]) for n in range(8)),
        bytes_sent=5_040_000,
        seconds=93.4,
        release="5d" * 32,
        versions=(("medquorum", "0.1.0"), ("torch", "2.15.0"), ("flwr", "1.41.0")),
        warnings=("site Harbour: 12 held-out patients are few, so its interval is wide",),
    )


@pytest.fixture
def make_result() -> Callable[..., StudyResult]:
    """The builder `made_result`."""
    return made_result
