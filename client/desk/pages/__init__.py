"""The pages as the browser gets them: HTML, one style sheet, ES modules, and the table of words."""

from __future__ import annotations

from pathlib import Path

PAGES = Path(__file__).parent
