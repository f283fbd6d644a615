"""Many nodes and the real coordinator on one machine: the whole federation by one function."""

from .federate import EngineName, federate

__all__ = ["EngineName", "federate"]
