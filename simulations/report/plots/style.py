"""The look that all plots share: one palette that colour-blind readers can tell apart, and quiet axes."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's set for colour vision deficiencies, one meaning each in every plot.
BEFORE: Final = "#9AA1A9"
ALONE: Final = "#E69F00"
FEDERATED: Final = "#0072B2"
POOLED: Final = "#009E73"
TRUTH: Final = "#E69F00"
PROPOSED: Final = "#56B4E9"
INK: Final = "#1D2733"
QUIET: Final = "#5C6773"
GRID: Final = "#E3E7EB"

DPI: Final = 144
WIDTH: Final = 9.0

_SETTINGS: Final[Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "text.color": INK,
    # Names of hospitals are untrusted: a dollar sign in one is a dollar sign.
    "text.parse_math": False,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12.0,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": "#B6BEC6",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}


def applied() -> AbstractContextManager[None]:
    """A context in which figures are drawn with this look."""
    import matplotlib

    return matplotlib.rc_context(_SETTINGS)


def blank(width: float, height: float) -> Figure:
    """An empty figure of that many inches; drawn without pyplot, so that nothing global is kept."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def to_png(figure: Figure) -> bytes:
    """The figure as PNG bytes; equal figures give equal bytes (no time, no library version inside)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    target = io.BytesIO()
    FigureCanvasAgg(figure).print_png(target, metadata={"Software": None})  # pyright: ignore[reportArgumentType]  # None drops the entry
    return target.getvalue()


def shorten(name: str, longest: int = 32) -> str:
    """A name that fits beside an axis; the page's table has it in full."""
    plain = " ".join(name.split())
    return plain if len(plain) <= longest else plain[: longest - 1].rstrip() + "…"


def legend_below(figure: Figure, axes: Axes) -> None:
    """The axes' legend under the figure, where it hides nothing; in one row when it fits there."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels) if len(labels) <= 5 else 4)


def colour_legend(figure: Figure, meanings: list[tuple[str, str]], *, filled: bool = True) -> None:
    """A legend under the figure of (label, colour), for bars (filled) or outlines."""
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=colour if filled else "none", edgecolor=colour, linewidth=1.5, label=label)
        for label, colour in meanings
    ]
    columns = len(handles) if len(handles) <= 4 else (len(handles) + 1) // 2
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def whisker(axes: Axes, row: float, low: float, high: float) -> None:
    """A horizontal interval at `row`, with a pale edge so that it is seen on a dark bar as on paper."""
    axes.plot([low, high], [row, row], color="white", linewidth=3.6, alpha=0.75, solid_capstyle="butt")
    axes.plot([low, high], [row, row], color=INK, linewidth=1.4, solid_capstyle="butt")
