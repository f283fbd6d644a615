"""The model card: what a release looks for, in which images, through which network, and what it was trained on.

After Mitchell et al. 2019 (Model Cards), kept to what a machine needs to rebuild and judge a release. A card is
written as canonical JSON (sorted keys, no spaces, ASCII), so that equal cards have equal bytes and one hash.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ..errors import MedquorumError
from ..task import Finding, Task
from .errors import CardError

Backbone = Literal["small", "resnet18", "efficientnet_lite0"]
Weights = Literal["random", "packaged", "torchvision", "file"]
Pooling = Literal["lse", "attention", "mean"]

FORMAT = "medquorum-card-1"
_WEIGHTS_OF: dict[str, tuple[str, ...]] = {
    "small": ("random", "file"),
    "resnet18": ("random", "torchvision", "file"),
    "efficientnet_lite0": ("packaged",),
}
# Blocks behind the last tap but one, whose input can be computed once and kept (see backbone).
_TRAINABLE_BLOCKS = {"small": 5, "resnet18": 2, "efficientnet_lite0": 5}


def _require(holds: bool, what: str, fix: str) -> None:
    if not holds:
        raise CardError(what, where="model card", fix=fix)


@dataclass(frozen=True, slots=True)
class InputTransform:
    """How a grey image in [0, 1] becomes the network's input.

    It is resized with its aspect kept until its longer side is `size` pixels, padded with black around its centre to
    `size` x `size`, and standardised to (x - mean) / std. EfficientNet-Lite0 standardises inside (ImageNet's
    channel statistics): give it mean 0 and std 1.
    """

    size: int
    mean: float
    std: float

    def __post_init__(self) -> None:
        _require(32 <= self.size <= 1024, f"an input size of {self.size}", "choose 32 to 1024 pixels")
        _require(self.size % 16 == 0, f"an input size of {self.size}", "choose a multiple of 16")
        _require(math.isfinite(self.mean), f"an input mean of {self.mean}", "give a finite mean")
        _require(math.isfinite(self.std) and self.std > 0.0, f"an input std of {self.std}", "give a std above 0")


@dataclass(frozen=True, slots=True)
class Architecture:
    """The network: its backbone, where the backbone's weights start, and how maps are pooled into logits.

    frozen: only the head is trained, and of the backbone its last `trained_blocks`. width: channels of the small
    backbone's widest stage (others ignore it).
    sharpness: r of log-mean-exp pooling, log(mean(exp(r x))) / r; larger is nearer to the maximum.
    exclusive: one finding, and only one, is present in every image; bias: whether the head has one (see head for both).
    fine: for regions. A frozen backbone's maps lie on the grid of stride 8 in place of 16, layers coarser than 16 stay
    out, and what the network says of a place is brought to the image's own edges (see guided).
    centred: a frozen backbone's features are seen from the cohort's mean (see centring).
    """

    backbone: Backbone
    weights: Weights
    frozen: bool
    width: int
    pooling: Pooling
    sharpness: float
    trained_blocks: int = 0
    exclusive: bool = False
    bias: bool = True
    fine: bool = False
    centred: bool = False

    def __post_init__(self) -> None:
        _require(self.backbone in _WEIGHTS_OF, f"backbone {self.backbone!r}", f"choose one of {tuple(_WEIGHTS_OF)}")
        allowed = _WEIGHTS_OF[self.backbone]
        _require(self.weights in allowed, f"weights {self.weights!r} for {self.backbone}", f"choose one of {allowed}")
        _require(self.pooling in get_args(Pooling), f"pooling {self.pooling!r}", f"choose one of {get_args(Pooling)}")
        _require(
            self.frozen or self.backbone != "efficientnet_lite0",
            "efficientnet_lite0 is not frozen",
            "set frozen: its packaged weights are an ImageNet network with folded batch norms, used as they are",
        )
        _require(
            not (self.frozen and self.weights == "random"),
            f"a frozen {self.backbone} with random weights",
            "give it weights, or do not freeze it",
        )
        _require(
            8 <= self.width <= 512 and self.width % 8 == 0, f"width {self.width}", "choose a multiple of 8, 8 to 512"
        )
        _require(
            self.frozen or self.trained_blocks == 0,
            f"trained_blocks is {self.trained_blocks} in a backbone of which everything is trained",
            "set frozen, or leave trained_blocks out",
        )
        _require(
            not self.fine or (self.frozen and self.trained_blocks == 0),
            "fine maps of a backbone that is trained",
            "set frozen and leave trained_blocks out, or leave fine out",
        )
        _require(
            not self.centred or (self.frozen and self.trained_blocks == 0),
            "a centre of features that are trained",
            "set frozen and leave trained_blocks out, or leave centred out",
        )
        most = _TRAINABLE_BLOCKS[self.backbone]
        _require(
            0 <= self.trained_blocks <= most,
            f"trained_blocks is {self.trained_blocks}",
            f"choose 0 to {most}: of {self.backbone}, no more than these blocks lie behind all the other feature maps",
        )
        _require(0.0 < self.sharpness <= 100.0, f"sharpness {self.sharpness}", "choose it above 0, at most 100")


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """One plan that this model went through.

    plan: its name; plan_hash: its SHA-256 in hex; rounds: rounds completed; sites and nominal_patients: aligned, as
    declared. mode: the plan's privacy mode; epsilon and delta: the per-site cap under it, None where nothing was
    private; relation: between which data ("add_or_remove_one_patient", "" likewise); colluding: how many other sites
    may have told the coordinator their noise (0 in mode "local", which holds against everyone). aggregation: how
    updates were summed ("plain", ...). synthetic: whether any image was generated.
    """

    plan: str
    plan_hash: str
    rounds: int
    sites: tuple[str, ...]
    nominal_patients: tuple[int, ...]
    mode: str
    epsilon: float | None
    delta: float | None
    aggregation: str
    synthetic: bool
    relation: str = ""
    colluding: int = 0

    def __post_init__(self) -> None:
        _require(
            len(self.plan_hash) == 64 and set(self.plan_hash) <= set("0123456789abcdef"),
            f"plan hash {self.plan_hash!r}",
            "give the plan's SHA-256 as 64 lower-case hexadecimal digits",
        )
        _require(self.rounds >= 0, f"{self.rounds} rounds", "give the number of rounds completed")
        _require(
            len(self.sites) == len(self.nominal_patients),
            f"{len(self.nominal_patients)} nominal counts for {len(self.sites)} sites",
            "give one count for each site",
        )
        _require(self.colluding >= 0, f"{self.colluding} colluding sites", "give 0 or more")
        for value in (self.epsilon, self.delta):
            _require(
                value is None or (math.isfinite(value) and value >= 0.0),
                f"a privacy figure of {value}",
                "give finite figures, or null where nothing was private",
            )


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a release is. `temperatures` holds one calibration temperature for each finding, in the task's order."""

    task: Task
    architecture: Architecture
    transform: InputTransform
    temperatures: tuple[float, ...]
    training: tuple[TrainingRecord, ...] = ()

    def __post_init__(self) -> None:
        _require(
            len(self.temperatures) == len(self.task.findings),
            f"{len(self.temperatures)} temperatures for {len(self.task.findings)} findings",
            "give one temperature for each finding (1.0 where uncalibrated)",
        )
        _require(
            not self.architecture.exclusive or len(self.task.findings) > 1,
            "a single finding that excludes the others",
            "leave exclusive out, or ask for two findings or more",
        )
        _require(
            not self.architecture.exclusive or not any(one.laterality for one in self.task.findings),
            "a side of a finding that excludes the others",
            "leave exclusive out: both sides may have a finding, and an image of one side is not asked of the other",
        )
        _require(
            all(math.isfinite(value) and value > 0.0 for value in self.temperatures),
            "a temperature is not above 0",
            "fit it again, or use 1.0",
        )

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, ASCII, shortest round-trip floats."""
        plain = asdict(self)
        for finding in plain["task"]["findings"]:
            if not finding["laterality"]:  # as in cards from before there were sides, so that they keep their hash
                del finding["laterality"]
        for name in ("fine", "centred"):  # likewise
            if not plain["architecture"][name]:
                del plain["architecture"][name]
        return json.dumps(
            {"format": FORMAT, **plain},
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=True,
            allow_nan=False,
        )

    @staticmethod
    def from_json(text: str) -> ModelCard:
        """The card that `text` spells; CardError names the first key that is missing, unknown or of a wrong type."""
        try:
            data: object = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise CardError(
                f"not JSON ({error})", where="model card", fix="use the card.json of an intact release"
            ) from None
        card = _Reader(data, "card")
        if card.text("format") != FORMAT:
            raise CardError(
                f"format {card.text('format')!r}",
                where="model card",
                fix=f"this version reads {FORMAT}; use the version that wrote the card",
            )
        task, architecture, transform = card.table("task"), card.table("architecture"), card.table("transform")
        try:
            result = ModelCard(
                task=Task(
                    findings=tuple(_finding(one) for one in task.tables("findings")),
                    modality=task.text("modality"),
                    body_part=task.text("body_part"),
                    view=task.text("view"),
                ),
                architecture=Architecture(
                    backbone=architecture.text("backbone"),  # pyright: ignore[reportArgumentType]  __post_init__ checks
                    weights=architecture.text("weights"),  # pyright: ignore[reportArgumentType]  __post_init__ checks
                    frozen=architecture.flag("frozen"),
                    width=architecture.whole("width"),
                    pooling=architecture.text("pooling"),  # pyright: ignore[reportArgumentType]  __post_init__ checks
                    sharpness=architecture.number("sharpness"),
                    trained_blocks=architecture.whole("trained_blocks"),
                    exclusive=architecture.flag("exclusive"),
                    bias=architecture.flag("bias"),
                    fine=architecture.flag("fine", False),
                    centred=architecture.flag("centred", False),
                ),
                transform=InputTransform(transform.whole("size"), transform.number("mean"), transform.number("std")),
                temperatures=card.numbers("temperatures"),
                training=tuple(_record(one) for one in card.tables("training")),
            )
        except CardError:
            raise
        except MedquorumError as error:
            raise CardError(error.what, where="model card", fix=error.fix) from None
        for table in (card, task, architecture, transform):
            table.close()
        return result


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


class _Reader:
    """Strict access to one JSON object: every key read once, by type, and none left over."""

    def __init__(self, data: object, where: str) -> None:
        if not isinstance(data, dict):
            raise CardError(f"{where} is not an object", where="model card", fix="use the card of an intact release")
        self._data: dict[str, Any] = data
        self._where = where
        self._read: set[str] = set()

    def _take(self, key: str, kind: type | tuple[type, ...], name: str) -> Any:
        value = self._data.get(key, self)
        self._read.add(key)
        wrong = not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
        if value is self or wrong:
            state = "is missing" if value is self else f"is not {name}"
            raise CardError(f"{self._where}.{key} {state}", where="model card", fix="use the card of an intact release")
        return value

    def text(self, key: str, otherwise: str | None = None) -> str:
        if otherwise is not None and key not in self._data:
            return otherwise
        return self._take(key, str, "text")

    def flag(self, key: str, otherwise: bool | None = None) -> bool:
        if otherwise is not None and key not in self._data:
            return otherwise
        return self._take(key, bool, "true or false")

    def whole(self, key: str) -> int:
        return self._take(key, int, "a whole number")

    def number(self, key: str) -> float:
        return float(self._take(key, (int, float), "a number"))

    def figure(self, key: str) -> float | None:
        value = self._take(key, (int, float, type(None)), "a number or null")
        return None if value is None else float(value)

    def table(self, key: str) -> _Reader:
        return _Reader(self._take(key, dict, "an object"), f"{self._where}.{key}")

    def tables(self, key: str) -> list[_Reader]:
        rows: list[object] = self._take(key, list, "a list")
        return [_Reader(row, f"{self._where}.{key}[{index}]") for index, row in enumerate(rows)]

    def _each(self, key: str, read: str) -> list[Any]:
        rows: list[object] = self._take(key, list, "a list")
        one = [_Reader({str(index): row}, f"{self._where}.{key}") for index, row in enumerate(rows)]
        return [getattr(reader, read)(str(index)) for index, reader in enumerate(one)]

    def numbers(self, key: str) -> tuple[float, ...]:
        return tuple(self._each(key, "number"))

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(self._each(key, "text"))

    def wholes(self, key: str) -> tuple[int, ...]:
        return tuple(self._each(key, "whole"))

    def close(self) -> None:
        unknown = sorted(set(self._data) - self._read)
        if unknown:
            raise CardError(
                f"{self._where} has the unknown key {unknown[0]!r}",
                where="model card",
                fix="use the version of medquorum that wrote the card",
            )


def _finding(table: _Reader) -> Finding:
    finding = Finding(
        table.text("key"),
        table.text("scheme"),
        table.text("code"),
        table.text("meaning"),
        table.text("laterality", ""),  # pyright: ignore[reportArgumentType]  __post_init__ checks
    )
    table.close()
    return finding


def _record(table: _Reader) -> TrainingRecord:
    record = TrainingRecord(
        plan=table.text("plan"),
        plan_hash=table.text("plan_hash"),
        rounds=table.whole("rounds"),
        sites=table.texts("sites"),
        nominal_patients=table.wholes("nominal_patients"),
        mode=table.text("mode"),
        epsilon=table.figure("epsilon"),
        delta=table.figure("delta"),
        aggregation=table.text("aggregation"),
        synthetic=table.flag("synthetic"),
        relation=table.text("relation"),
        colluding=table.whole("colluding"),
    )
    table.close()
    return record
