"""STOW-RS to a server that behaves, refuses, changes what it is sent, or is not there."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pydicom
import pytest
from exports import MODEL, ORIGINAL, WORKSHOP, make_result

from medquorum.client.export.errors import NotTakenError, PacsError
from medquorum.client.export.pacs import Pacs
from medquorum.client.export.to_web import WebDestination

REPORT = WORKSHOP.make("findings", make_result(MODEL), ORIGINAL, with_regions=False)


@dataclass
class Server:
    """A DICOMweb server in this process, and how it behaves."""

    url: str = ""
    status: int = 200
    failure: int | None = None
    silent: bool = False
    wado: int = 200
    qido: int = 200
    keeps: bool = True
    changes: bool = False
    held: dict[str, bytes] = field(default_factory=dict)
    users: list[str] = field(default_factory=list)

    def answer(self, uid: str) -> bytes:
        item = {
            "00081150": {"vr": "UI", "Value": [REPORT.sop_class]},
            "00081155": {"vr": "UI", "Value": [uid]},
        }
        if self.failure is not None:
            item["00081197"] = {"vr": "US", "Value": [self.failure]}
            return json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()
        return json.dumps({"00081199": {"vr": "SQ", "Value": [] if self.silent else [item]}}).encode()


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments) -> None:
            pass

        def say(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            server.users.append(self.headers.get("Authorization", ""))
            body = self.rfile.read(int(self.headers["Content-Length"]))
            data = body[body.index(b"\r\n\r\n") + 4 :]
            data = data[: data.rindex(b"\r\n--")]
            dataset = pydicom.dcmread(io.BytesIO(data))
            if server.status == 200 and server.failure is None and server.keeps:
                if server.changes:
                    dataset.PatientID = "OTHER"
                target = io.BytesIO()
                dataset.save_as(target)
                server.held[str(dataset.SOPInstanceUID)] = target.getvalue()
            self.say(server.status, "application/dicom+json", server.answer(str(dataset.SOPInstanceUID)))

        def do_GET(self) -> None:
            uid = REPORT.sop_uid
            if self.path.endswith(f"/instances/{uid}"):
                found = server.held.get(uid)
                if server.wado != 200 or found is None:
                    self.say(404 if server.wado == 200 else server.wado, "text/plain", b"")
                    return
                part = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + found + b"\r\n--b--\r\n"
                self.say(200, 'multipart/related; type="application/dicom"; boundary=b', part)
            elif server.qido != 200:
                self.say(server.qido, "text/plain", b"")
            elif uid in server.held:
                self.say(
                    200, "application/dicom+json", json.dumps([{"00080018": {"vr": "UI", "Value": [uid]}}]).encode()
                )
            else:
                self.say(204, "application/dicom+json", b"")

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler(made))
    made.url = f"http://127.0.0.1:{listening.server_address[1]}/dicom-web"
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield made
    listening.shutdown()
    listening.server_close()


def destination(server: Server, **changes) -> WebDestination:
    return WebDestination(Pacs("archive", web=server.url, **changes), seconds=5.0)


def test_an_object_is_read_again_from_the_server(server):
    assert destination(server).save(REPORT) == "read back"
    assert pydicom.dcmread(io.BytesIO(server.held[REPORT.sop_uid])).PatientID == "P-4711"


def test_without_wado_it_is_looked_for_and_without_qido_the_answer_must_do(server):
    server.wado = 404
    assert destination(server).save(REPORT) == "found again"
    server.qido = 501
    assert destination(server).save(REPORT) == "answered"


def test_the_password_is_sent(server):
    destination(server, user="u", password="p").save(REPORT)
    assert server.users == ["Basic dTpw"]


@pytest.mark.parametrize(
    ("behaviour", "fault", "said"),
    [
        ({"failure": 0xA700}, NotTakenError, "it has no room"),
        ({"status": 409, "failure": 0x0122}, NotTakenError, "does not take this kind"),
        ({"status": 400}, NotTakenError, "HTTP 400"),
        ({"silent": True}, NotTakenError, "does not name it"),
        ({"keeps": False}, NotTakenError, "does not find it"),
        ({"changes": True}, NotTakenError, "another patient id"),
        ({"status": 401}, PacsError, "answers 401"),
        ({"status": 503}, PacsError, "answers 503"),
        ({"wado": 500}, PacsError, "answers 500 when asked again"),
    ],
    ids=["full", "conflict", "bad", "silent", "forgets", "changes", "login", "down", "wado down"],
)
def test_nothing_is_saved_that_is_not_there(server, behaviour, fault, said):
    for name, value in behaviour.items():
        setattr(server, name, value)
    with pytest.raises(fault, match=said):
        destination(server).save(REPORT)


def test_nobody_there(server):
    gone = WebDestination(Pacs("archive", web="http://127.0.0.1:9/dicom-web"), seconds=2.0)
    with pytest.raises(PacsError, match="does not answer"):
        gone.save(REPORT)
