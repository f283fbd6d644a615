"""The front door passes on the Fleet routes of a resident node, within limits, and nothing else exists."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from starlette.testclient import TestClient

from medquorum.privacy.certificates import issue, make_authority
from medquorum.server.network.errors import EnrolmentError
from medquorum.server.network.front_door import FLEET_ROUTES, Limits, TokenBucket, front_door, serve
from medquorum.server.network.superlink import LOOPBACK, free_port


class _Upstream(BaseHTTPRequestHandler):
    """Stands for SuperLink: remembers what reached it."""

    seen: ClassVar[list[tuple[str, dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(200)
        self.send_header("content-type", "application/protobuf")
        self.send_header("set-cookie", "leak=1")
        self.end_headers()
        self.wfile.write(b"answer to " + body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def upstream():
    _Upstream.seen = []
    server = ThreadingHTTPServer((LOOPBACK, 0), _Upstream)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://{LOOPBACK}:{server.server_port}"
    server.shutdown()
    server.server_close()


def door(upstream: str, limits: Limits | None = None) -> TestClient:
    def enrol(body: bytes) -> bytes:
        if body == b"bad":
            raise EnrolmentError("not an enrolment", fix="send one")
        return body

    return TestClient(front_door(upstream, ssl.create_default_context(), enrol, lambda: b"list", limits))


def test_fleet_routes_are_passed_on_byte_for_byte(upstream: str) -> None:
    with door(upstream) as client:
        for route in sorted(FLEET_ROUTES):
            answer = client.post(f"/v1/fleet/{route}", content=b"\x00payload", headers={"flwr-public-key": "k"})
            assert (answer.status_code, answer.content) == (200, b"answer to \x00payload")
            assert "set-cookie" not in answer.headers
    assert [path for path, _, _ in _Upstream.seen] == [f"/v1/fleet/{route}" for route in sorted(FLEET_ROUTES)]
    assert all(headers["flwr-public-key"] == "k" for _, headers, _ in _Upstream.seen)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/start-run",
        "/v1/control/register-node",
        "/v1/runtime/push-messages",
        "/v1/fleet/register-node",
        "/v1/fleet/unregister-node",
        "/v1/fleet/get-fab",
        "/v1/fleet/get-run",
        "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run",
        "/v1/fleet/pull-messages/../../control/start-run",
        "/docs",
        "/openapi.json",
        "/",
    ],
)
def test_everything_else_does_not_exist(upstream: str, path: str) -> None:
    with door(upstream) as client:
        assert client.post(path, content=b"x").status_code in (404, 405)
        assert client.get(path).status_code in (404, 405)
    assert _Upstream.seen == []


def test_tokens_of_flowers_own_tasks_are_not_passed_on(upstream: str) -> None:
    with door(upstream) as client:
        client.post(
            "/v1/fleet/pull-messages", content=b"x", headers={"flwr-task-token": "t", "x-forwarded-for": "1.2.3.4"}
        )
    assert "flwr-task-token" not in _Upstream.seen[0][1]
    assert "x-forwarded-for" not in _Upstream.seen[0][1]


def test_large_and_unmeasured_bodies_are_refused_before_they_are_read(upstream: str) -> None:
    with door(upstream, Limits(body=10)) as client:
        assert client.post("/v1/fleet/push-object", content=b"x" * 11).status_code == 413
        assert client.post("/v1/fleet/push-object", content=iter([b"x"])).status_code == 411
        assert client.post("/v1/fleet/push-object", content=b"x" * 10).status_code == 200


def test_one_sender_cannot_ask_without_end(upstream: str) -> None:
    with door(upstream, Limits(rate=0.001, burst=3)) as client:
        codes = [client.post("/v1/fleet/pull-messages", content=b"").status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]


def test_bucket_refills_with_time() -> None:
    now = [0.0]
    bucket = TokenBucket(rate=2.0, burst=2.0, clock=lambda: now[0])
    assert [bucket.allow("a") for _ in range(3)] == [True, True, False]
    assert bucket.allow("b")
    now[0] += 0.5
    assert [bucket.allow("a"), bucket.allow("a")] == [True, False]


def test_enrolment_and_list(upstream: str) -> None:
    with door(upstream) as client:
        assert client.post("/v1/medquorum/enrol", content=b"good").content == b"good"
        refused = client.post("/v1/medquorum/enrol", content=b"bad")
        assert refused.status_code == 400 and "Fix: send one" in refused.text
        assert client.get("/v1/medquorum/consortium").content == b"list"


def test_a_stopped_superlink_is_a_pause_not_a_fault() -> None:
    with door(f"http://{LOOPBACK}:{free_port()}") as client:
        assert client.post("/v1/fleet/pull-messages", content=b"x").status_code == 503


def test_only_tls_1_3_is_spoken(tmp_path: Path, upstream: str) -> None:
    make_authority(tmp_path, "test")
    certificate = issue(tmp_path, "front", (LOOPBACK,))
    app = front_door(upstream, ssl.create_default_context(), lambda body: body, lambda: b"list")
    port = free_port()
    server = serve(app, LOOPBACK, port, certificate)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
    try:
        url = f"https://{LOOPBACK}:{port}/v1/medquorum/consortium"
        modern = ssl.create_default_context(cafile=str(certificate.authority))
        assert httpx.get(url, verify=modern).content == b"list"
        old = ssl.create_default_context(cafile=str(certificate.authority))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, verify=old)
    finally:
        server.should_exit = True
        thread.join()
