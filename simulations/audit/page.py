"""audit.html: the page of an audit, in the look of a study's report; and the other files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..outcome import versions
from ..report import figures
from ..report.files import Named, keep_plots
from ..report.pages import beside, pictures, rendered
from . import document, plots, words
from .membership import Membership
from .running import Audit


def write(audit: Audit, command: str, folder: Path) -> list[Named]:
    """Write every file into `folder`, the figures first should a plot fail: (what for, path) of each."""
    (folder / "audit.json").write_text(document.dump(audit, command), encoding="utf-8")
    (folder / "audit.md").write_text(words.markdown(audit), encoding="utf-8")
    drawn = plots.draw_all(audit)
    keep_plots(drawn, folder)
    (folder / "audit.html").write_text(render(audit, command, drawn), encoding="utf-8")
    return [
        ("Read it in a browser", folder / "audit.html"),
        ("All its figures", folder / "audit.json"),
        ("The table for a page of text", folder / "audit.md"),
    ]


def render(audit: Audit, command: str, drawn: Mapping[str, bytes]) -> str:
    """The page's HTML; `drawn` are the PNG bytes of `plots.draw_all`."""
    return rendered(
        beside(__name__, "audit.html"),
        study=audit.study,
        headline=headline(audit),
        leads=[],
        synthetic=audit.synthetic,
        verdicts=words.verdicts(audit),
        headers=words.HEADERS,
        rows=words.rows(audit),
        members=[_member(arm.mode, arm.membership) for arm in audit.arms],
        pictures=pictures(drawn, plots.ALTERNATIVES),
        command=command,
        facts=[
            ("hospitals", ", ".join(audit.hospitals)),
            ("confidence", f"{100 * audit.confidence:g} % of every lower bound"),
            ("wall clock", figures.duration(audit.seconds)),
            *((str(name), str(value)) for name, value in versions()),
        ],
    )


def headline(audit: Audit) -> str:
    """What the audit comes to, in one sentence."""
    if audit.refuted:
        return "A claim of privacy is refuted"
    if all(arm.mode == "none" for arm in audit.arms):
        return "What the study gives away without privacy"
    return "No claim of privacy is refuted"


def _member(mode: str, found: Membership) -> tuple[str, ...]:
    shown = [figures.with_interval(found.auc)]
    shown += [f"{100 * one.value:.2f} % ({100 * one.low:.2f}–{100 * one.high:.2f})" for one in found.hit_rates]
    return ("off" if mode == "none" else mode, *shown, f"{found.patients:,}", str(found.trainings))
