"""Many nodes and the real coordinator on one machine: the whole federation by one function."""

from typing import Literal

from .federate import federate

EngineName = Literal["inprocess", "ray", "processes"]
"""What carries a study's messages: this process, Flower's simulation engine, or real processes over TLS."""

__all__ = ["EngineName", "federate"]
