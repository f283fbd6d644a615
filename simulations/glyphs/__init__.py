"""Digits that nobody wrote: rendered from fonts and from pen strokes of our own, bent and shifted at random."""

from .rendering import SIDE, render_digits

__all__ = ["SIDE", "render_digits"]
