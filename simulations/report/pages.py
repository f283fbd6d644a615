"""Self-contained pages: no script, nothing fetched, one look. Every name on them is untrusted text and is escaped; the
page's own content policy forbids scripts and requests."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from . import statements
from .plots import style


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot on a page: a data URI, what it shows in words, and its width in CSS pixels."""

    source: str
    alternative: str
    width: int


def picture(png: bytes, alternative: str) -> Picture:
    """A PNG as a page shows it, 96 CSS pixels an inch (a PNG holds its width in pixels at byte 16)."""
    return Picture(data_uri(png), alternative, round(int.from_bytes(png[16:20], "big") * 96 / style.DPI))


def pictures(drawn: Mapping[str, bytes], alternatives: Mapping[str, str]) -> dict[str, Picture]:
    """The plots that were drawn, in the order of `alternatives`: what each shows in words, by its name."""
    return {name: picture(drawn[name], words) for name, words in alternatives.items() if name in drawn}


def data_uri(png: bytes) -> str:
    """The picture as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def rendered(
    template: Traversable,
    *,
    headline: str,
    synthetic: bool,
    command: str,
    facts: Sequence[tuple[str, str]],
    **values: object,
) -> str:
    """The HTML of a template that fills templates/page.html. `values`: what it names beyond what every page has."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_template),
    )
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        style=Markup(_template("report.css")),
        research_use=statements.RESEARCH_USE,
        headline=headline,
        synthetic=synthetic,
        command=command,
        facts=facts,
        **values,
    )


def beside(module: str, name: str) -> Traversable:
    """A file that lies beside a module of this package."""
    return resources.files(module.rpartition(".")[0]).joinpath(name)


@cache
def _template(name: str) -> str:
    return beside(__name__, "templates").joinpath(name).read_text(encoding="utf-8")
