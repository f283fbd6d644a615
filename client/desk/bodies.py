"""What a page sends with a change: JSON of bounded size, read strictly."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from ..errors import AnnotationError

SMALL = 1 << 14
_Model = TypeVar("_Model", bound=BaseModel)


class Said(BaseModel):
    """Base of what a page may send: nothing that is not named, and nothing of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


async def body(request: Request, most: int) -> bytes:
    """A request's body; AnnotationError when it has more than `most` bytes."""
    found = b""
    async for part in request.stream():
        found += part
        if len(found) > most:
            raise AnnotationError(f"a message of more than {most} bytes", fix="load the page again")
    return found


async def said(request: Request, model: type[_Model]) -> _Model:
    """A small body as a model; AnnotationError names the first thing that is wrong with it."""
    try:
        return model.model_validate_json(await body(request, SMALL))
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "message"
        raise AnnotationError(
            f"the page sent something that cannot be understood: {first['msg']}", where=place, fix="load the page again"
        ) from fault
