"""An HTTP transport that reads no answer past a limit and unpacks nothing: what comes in fits in memory."""

from __future__ import annotations

from collections.abc import Iterator

import httpx


class BoundedTransport(httpx.BaseTransport):
    """Wraps a transport. Answers of more than `limit` bytes, and compressed ones (which this node never asks for),
    raise httpx.RemoteProtocolError while they are read."""

    def __init__(self, inner: httpx.BaseTransport, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; the answer's body counts as it is read."""
        answer = self._inner.handle_request(request)
        if answer.headers.get("content-encoding", "identity") != "identity":
            answer.close()
            raise httpx.RemoteProtocolError("a compressed answer, which was not asked for", request=request)
        stream = answer.stream
        if not isinstance(stream, httpx.SyncByteStream):
            raise httpx.RemoteProtocolError("an answer without a body to read", request=request)
        counted = _Counted(stream, self._limit, request)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=counted, extensions=answer.extensions)

    def close(self) -> None:
        """Close the wrapped transport."""
        self._inner.close()


class _Counted(httpx.SyncByteStream):
    def __init__(self, inner: httpx.SyncByteStream, limit: int, request: httpx.Request) -> None:
        self._inner = inner
        self._limit = limit
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for piece in self._inner:
            size += len(piece)
            if size > self._limit:
                raise httpx.RemoteProtocolError(f"an answer of more than {self._limit} bytes", request=self._request)
            yield piece

    def close(self) -> None:
        self._inner.close()
