"""The one canonical encoding of every message and of everything that is hashed or signed.

A frozen dataclass becomes a CBOR map (RFC 8949) in core deterministic form (section 4.2.1): its class name under
"kind", its schema version under "v", and its fields under their names. Decoding is driven by the dataclass's type
hints and accepts exactly what encoding would have written: unknown, missing or mistyped fields, other orders and
longer forms of the same number are all refused, so that one meaning has one hash.

A field whose metadata has "default_omitted" is left out where it has its default: what was hashed, signed and stored
before the field existed is then still the same message.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import types
import typing
from typing import Any, TypeVar

import cbor2

from .errors import VersionError, WireError

SCHEMA_VERSION = 1
MAX_DEPTH = 16

T = TypeVar("T")


def encode(message: Any) -> bytes:
    """Return the canonical bytes of a frozen dataclass instance."""
    parts: list[bytes] = []
    _write(_to_plain(message), parts)
    return b"".join(parts)


def digest(message: Any) -> bytes:
    """Return the SHA-256 of a message's canonical bytes (32 bytes)."""
    return hashlib.sha256(encode(message)).digest()


def kind_of(data: bytes) -> str:
    """The class name that bytes give themselves, for choosing what to decode them as; "" when they give none."""
    try:
        plain: Any = cbor2.loads(data, max_depth=MAX_DEPTH, allow_indefinite=False, allow_duplicate_keys=False)
    except Exception:  # as in decode
        return ""
    kind = typing.cast("dict[Any, Any]", plain).get("kind") if isinstance(plain, dict) else None
    return kind if isinstance(kind, str) else ""


def decode(kind: type[T], data: bytes) -> T:
    """Read canonical bytes back into a `kind`.

    Raises WireError when the bytes are not CBOR, are another kind or schema version (then VersionError), hold unknown,
    missing or mistyped fields, break a rule of the dataclass itself, or are not in canonical form.
    """
    try:
        plain: Any = cbor2.loads(data, max_depth=MAX_DEPTH, allow_indefinite=False, allow_duplicate_keys=False)
    except Exception as fault:  # cbor2 lets several unrelated types through on hostile input
        raise WireError(f"not a {kind.__name__}: the bytes are not CBOR ({type(fault).__name__})") from fault
    message = _from_plain(kind, plain, kind.__name__)
    if encode(message) != data:
        raise WireError(f"not a {kind.__name__}: the bytes are not in canonical form")
    return message


def _write(plain: Any, parts: list[bytes]) -> None:
    """Append the deterministic encoding of a plain value. Long byte strings (models, masked vectors) are joined in once
    instead of passing through cbor2, which copies them several times; everything else is cbor2's."""
    if isinstance(plain, dict):
        items = typing.cast("dict[Any, Any]", plain)
        parts.append(_head(5, len(items)))
        # RFC 8949, section 4.2.1: by the bytes of the encoded keys.
        for key, item in sorted((cbor2.dumps(key, canonical=True), item) for key, item in items.items()):
            parts.append(key)
            _write(item, parts)
    elif isinstance(plain, list):
        parts.append(_head(4, len(plain)))
        for item in typing.cast("list[Any]", plain):
            _write(item, parts)
    elif isinstance(plain, bytes):
        parts.append(_head(2, len(plain)))
        parts.append(plain)
    else:
        parts.append(cbor2.dumps(plain, canonical=True))


def _head(major: int, length: int) -> bytes:
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if length < 24:
            return bytes([major << 5 | length])
        if length < 1 << 8 * size:
            return bytes([major << 5 | code]) + length.to_bytes(size, "big")
    raise WireError("is too long for a message")


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain: dict[str, Any] = {"kind": type(value).__name__, "v": SCHEMA_VERSION}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if not (field.metadata.get("default_omitted") and item == field.default):
                plain[field.name] = _to_plain(item)
        return plain
    if isinstance(value, tuple | list):
        return [_to_plain(item) for item in typing.cast("tuple[Any, ...]", value)]
    if isinstance(value, dict):
        return {key: _to_plain(item) for key, item in typing.cast("dict[Any, Any]", value).items()}
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    raise WireError(f"a {type(value).__name__} cannot travel in a message")


def _from_plain(hint: Any, plain: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _from_union(hint, plain, where)
    if origin is tuple:
        return _from_tuple(hint, plain, where)
    if origin is typing.Literal:
        if not any(plain == choice and type(plain) is type(choice) for choice in typing.get_args(hint)):
            raise WireError(f"{plain!r} is none of {typing.get_args(hint)}", where=where)
        return plain
    if dataclasses.is_dataclass(hint):
        return _from_map(typing.cast("type[Any]", hint), plain, where)
    if hint is None or hint is types.NoneType:
        if plain is not None:
            raise WireError("should be empty", where=where)
        return None
    if hint in (bool, int, float, str, bytes):
        if type(plain) is not hint:
            raise WireError(f"should be {hint.__name__}, is {type(plain).__name__}", where=where)
        if isinstance(plain, float) and not math.isfinite(plain):
            raise WireError("is not a finite number", where=where)
        return plain
    raise WireError(f"has a type that no message carries: {hint!r}", where=where)


def _from_union(hint: Any, plain: Any, where: str) -> Any:
    faults: list[str] = []
    for option in typing.get_args(hint):
        try:
            return _from_plain(option, plain, where)
        except WireError as fault:
            faults.append(str(fault))
    raise WireError("fits none of its forms: " + "; ".join(faults), where=where)


def _from_tuple(hint: Any, plain: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(plain, list):
        raise WireError("should be a list", where=where)
    items = typing.cast("list[Any]", plain)
    hints = typing.get_args(hint)
    if len(hints) == 2 and hints[1] is Ellipsis:
        return tuple(_from_plain(hints[0], item, f"{where}[{i}]") for i, item in enumerate(items))
    if len(items) != len(hints):
        raise WireError(f"should have {len(hints)} items, has {len(items)}", where=where)
    return tuple(
        _from_plain(one, item, f"{where}[{i}]") for i, (one, item) in enumerate(zip(hints, items, strict=True))
    )


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _from_map(kind: type[Any], plain: Any, where: str) -> Any:
    if not isinstance(plain, dict):
        raise WireError(f"should be a {kind.__name__}", where=where)
    given = typing.cast("dict[Any, Any]", plain)
    if given.get("kind") != kind.__name__:
        raise WireError(f"should be a {kind.__name__}, is {given.get('kind')!r}", where=where)
    if given.get("v") != SCHEMA_VERSION:
        raise VersionError(
            f"schema version {given.get('v')!r} is not spoken here (this is {SCHEMA_VERSION})",
            where=where,
            fix="update medquorum on the older side",
        )
    hints = _hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}
    optional = {field.name for field in dataclasses.fields(kind) if field.metadata.get("default_omitted")}
    surplus, missing = given.keys() - names - {"kind", "v"}, names - optional - given.keys()
    if surplus or missing:
        raise WireError(f"unknown fields {sorted(map(str, surplus))}, missing fields {sorted(missing)}", where=where)
    told = sorted(names & given.keys())
    fields = {name: _from_plain(hints[name], given[name], f"{where}.{name}") for name in told}
    try:
        return kind(**fields)
    except WireError:
        raise
    except Exception as fault:
        raise WireError(f"breaks a rule of {kind.__name__}: {fault}", where=where) from fault
