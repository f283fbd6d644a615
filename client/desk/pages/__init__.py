"""The pages as the browser gets them: HTML in one frame, style sheets, ES modules, and the table of words."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

PAGES = Path(__file__).parent


@cache
def page(name: str) -> str:
    """The HTML of a page by its name, which is also its script's. It holds nothing of a patient or reader: the same is
    sent to everybody."""
    environment = Environment(
        loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(f"{name}.html").render(name=name)
