"""The real-time service over real TLS: what it answers, whom it refuses, what it bears."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import dicom_files
import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hospitals import TASK, make_release

from medquorum.client.audit_log import AuditLog
from medquorum.client.gate import Gate
from medquorum.client.inference import Said
from medquorum.client.intake.folder import import_dicom
from medquorum.client.keys import open_node_key
from medquorum.client.node import Node
from medquorum.client.propose import propose
from medquorum.client.realtime import service as service_module
from medquorum.client.realtime.looking import Looked, Looker, lender
from medquorum.client.realtime.proposals_pb2 import Finding, Image, Proposal, Region
from medquorum.client.realtime.service import METHOD, Limits, Service, allow
from medquorum.client.realtime.serving import serving
from medquorum.client.releases import Releases
from medquorum.privacy.certificates import Issued, issue_caller, make_authority

RELEASE = make_release()
PIXELS = np.random.default_rng(1).integers(0, 4000, (90, 70)).astype(np.uint16)
FILE = dicom_files.dicom(PIXELS, number=7)


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    with Gate(workers=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Path:
    """A node with one stored image and a release."""
    root = tmp_path_factory.mktemp("realtime")
    (root / "files").mkdir()
    (root / "files" / "a.dcm").write_bytes(FILE)
    with Node.create(root / "node", "a") as node:
        import_dicom(node.store, root / "files", gate)
        propose(node.store, RELEASE)
    Releases(root / "node" / "releases").adopt(RELEASE)
    return root / "node"


@pytest.fixture(scope="module")
def service(folder: Path, gate: Gate) -> Iterator[Service]:
    with serving(folder, gate, lender(folder / "store"), "127.0.0.1:0", ()) as opened:
        yield opened


@pytest.fixture(scope="module")
def issued(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Issued:
    return allow(folder, "viewer one", tmp_path_factory.mktemp("viewer"))


def channel(port: int, known: Issued, *, mine: Issued | None = None) -> grpc.Channel:
    """To the server that `known` names the authority of, with the certificate of `mine` (None: with none)."""
    key, certificate = (None, None) if mine is None else (mine.key.read_bytes(), mine.certificate.read_bytes())
    credentials = grpc.ssl_channel_credentials(known.authority.read_bytes(), key, certificate)
    return grpc.secure_channel(f"localhost:{port}", credentials, [("grpc.max_send_message_length", -1)])


def ask(open_channel: grpc.Channel, images: list[Image], timeout: float | None = 60.0) -> list[Proposal]:
    call = open_channel.stream_stream(METHOD, Image.SerializeToString, Proposal.FromString)
    return list(call(iter(images), timeout=timeout))


@pytest.fixture(scope="module")
def viewer(service: Service, issued: Issued) -> Iterator[grpc.Channel]:
    with channel(service.port, issued, mine=issued) as opened:
        yield opened


def test_a_file_and_a_reference_get_what_the_node_itself_proposes(viewer: grpc.Channel, folder: Path) -> None:
    sent, stored = ask(viewer, [Image(id="1", instance=FILE), Image(id="2", sop_instance_uid="1.2.3.7")])
    with Node.open(folder, None) as node:
        (mine,) = node.store.proposals(RELEASE.hash.hex()).values()
    for answer in (sent, stored):
        assert answer.applicable and answer.release == RELEASE.hash.hex()
        assert [(one.key, one.probability) for one in answer.findings] == list(mine.probabilities)
        assert answer.findings[0].code == TASK.findings[0].code
        assert [(one.x0, one.y1) for one in answer.regions] == [(one.shape.x0, one.shape.y1) for one in mine.regions]
    assert (sent.id, stored.id) == ("1", "2")


def test_each_image_is_answered_before_the_next_is_sent(viewer: grpc.Channel) -> None:
    answered = threading.Semaphore(0)

    def images() -> Iterator[Image]:
        for number in range(3):
            yield Image(id=str(number), instance=FILE)
            assert answered.acquire(timeout=30.0)

    call = viewer.stream_stream(METHOD, Image.SerializeToString, Proposal.FromString)
    seen = []
    for answer in call(images(), timeout=60.0):
        seen.append(answer.id)
        answered.release()
    assert seen == ["0", "1", "2"]


def test_what_it_is_not_for_or_cannot_be_read_has_a_reason_and_no_finding(viewer: grpc.Channel) -> None:
    asked = {
        "the model is for": dicom_files.dicom(PIXELS, Modality="MG"),
        "not-dicom": b"GIF89a" * 100,
        "truncated": FILE[:900],
    }
    answers = ask(viewer, [Image(id=reason, instance=content) for reason, content in asked.items()])
    answers += ask(viewer, [Image(id="no image of this", sop_instance_uid="1.2.999")])
    for answer in answers:
        assert not answer.applicable and not answer.findings and not answer.regions
        assert answer.id in answer.reason, answer
    # What was refused before does no harm to what comes after.
    assert ask(viewer, [Image(id="x", instance=FILE)])[0].applicable


def test_fifty_callers_at_once_lose_nothing(service: Service, issued: Issued) -> None:
    def caller(number: int) -> list[str]:
        with channel(service.port, issued, mine=issued) as mine:
            images = [Image(id=f"{number}-{index}", instance=FILE) for index in range(2)]
            return [one.id for one in ask(mine, images, 120.0) if one.applicable]

    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(caller, range(50)))
    assert found == [[f"{number}-0", f"{number}-1"] for number in range(50)]


@pytest.mark.parametrize("who", ["nobody", "a stranger"])
def test_who_shows_no_certificate_of_the_nodes_own_is_not_answered(
    service: Service, issued: Issued, tmp_path: Path, who: str
) -> None:
    make_authority(tmp_path, "other")
    stranger = issue_caller(tmp_path, tmp_path / "viewer", "stranger")
    mine = None if who == "nobody" else stranger
    with channel(service.port, issued, mine=mine) as closed, pytest.raises(grpc.RpcError) as refused:
        ask(closed, [Image(id="1", instance=FILE)], 10.0)
    assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def test_a_caller_that_pins_the_authority_answers_to_no_other_server(
    service: Service, issued: Issued, tmp_path: Path
) -> None:
    make_authority(tmp_path, "other")
    stranger = issue_caller(tmp_path, tmp_path / "viewer", "stranger")
    with channel(service.port, stranger, mine=issued) as misled, pytest.raises(grpc.RpcError):
        ask(misled, [Image(id="1", instance=FILE)], 10.0)


def test_a_call_in_the_clear_is_not_answered(service: Service) -> None:
    with grpc.insecure_channel(f"localhost:{service.port}") as clear, pytest.raises(grpc.RpcError):
        ask(clear, [Image(id="1", instance=FILE)], 5.0)


def test_calls_without_a_deadline_or_with_nothing_in_them_are_refused(viewer: grpc.Channel) -> None:
    for images, timeout in (([Image(id="1", instance=FILE)], None), ([Image(id="1")], 10.0)):
        with pytest.raises(grpc.RpcError) as refused:
            ask(viewer, images, timeout)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_bytes_that_are_no_message_are_refused(viewer: grpc.Channel) -> None:
    raw = viewer.stream_stream(METHOD)  # sends bytes as they are
    with pytest.raises(grpc.RpcError) as refused:
        list(raw(iter([b"\xff" * 40]), timeout=10.0))
    assert refused.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


def test_too_large_a_message_and_too_many_calls_are_refused_at_once(folder: Path, gate: Gate, issued: Issued) -> None:
    looker = Looker(Releases(folder / "releases"), gate, lender(folder / "store"), 1)
    limits = Limits(message_bytes=100_000, calls=1)
    with ExitStack() as opened:
        small = opened.enter_context(
            Service(folder, looker, "127.0.0.1:0", ("localhost",), lambda caller, images: None, limits)
        )
        with channel(small.port, issued, mine=issued) as mine:
            with pytest.raises(grpc.RpcError) as refused:
                ask(mine, [Image(id="1", instance=b"\0" * 200_000)])
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            holding = threading.Event()

            def images() -> Iterator[Image]:
                yield Image(id="1", instance=FILE)
                holding.wait(30.0)

            call = mine.stream_stream(METHOD, Image.SerializeToString, Proposal.FromString)(images(), timeout=60.0)
            assert next(call).applicable
            with pytest.raises(grpc.RpcError) as second:
                ask(mine, [Image(id="2", instance=FILE)])
            assert second.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            holding.set()
            assert list(call) == []


def test_the_standard_health_service_answers(viewer: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(viewer)
    answer = stub.Check(health_pb2.HealthCheckRequest(service="medquorum.realtime.v1.Proposals"), timeout=10.0)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_release_adopted_meanwhile_proposes_from_the_next_image_on(
    folder: Path, gate: Gate, tmp_path: Path, issued: Issued
) -> None:
    releases = Releases(tmp_path / "releases")
    looker = Looker(releases, gate, lender(folder / "store"), 1)
    with ExitStack() as opened:
        fresh = opened.enter_context(
            Service(folder, looker, "127.0.0.1:0", ("localhost",), lambda caller, images: None)
        )
        with channel(fresh.port, issued, mine=issued) as mine:
            with pytest.raises(grpc.RpcError) as refused:
                ask(mine, [Image(id="1", instance=FILE)])
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            names = []
            for seed in (3, 4):
                releases.adopt(make_release(seed))
                names.append(ask(mine, [Image(id="1", instance=FILE)])[0].release)
            assert names == [make_release(seed).hash.hex() for seed in (3, 4)]


def test_a_store_that_is_open_elsewhere_is_said_and_files_are_answered_all_the_same(
    viewer: grpc.Channel, folder: Path
) -> None:
    with Node.open(folder, None):
        stored, sent = ask(viewer, [Image(id="1", sop_instance_uid="1.2.3.7"), Image(id="2", instance=FILE)])
    assert "another process" in stored.reason and sent.applicable


def test_every_call_is_noted_with_the_callers_name(viewer: grpc.Channel, folder: Path) -> None:
    ask(viewer, [Image(id="1", instance=FILE)] * 2)
    entries = [
        one for one in AuditLog(folder / "store", open_node_key(folder / "store")).entries() if one.kind == "access"
    ]
    assert (entries[-1].who, entries[-1].what["images"]) == ("viewer one", 2)


def test_the_messages_are_those_of_the_file_that_callers_build_from() -> None:
    """The generated module is kept; this notices a change of the one without the other."""
    text = (Path(service_module.__file__).parent / "proposals.proto").read_text()
    blocks = dict(re.findall(r"^message (\w+) \{\n(.*?)^\}", text, re.M | re.S))
    for message in (Image, Proposal, Finding, Region):
        stated = {(name, int(number)) for name, number in re.findall(r"(\w+) = (\d+);", blocks.pop(message.__name__))}
        assert stated == {(field.name, field.number) for field in message.DESCRIPTOR.fields}
    assert not blocks


def test_a_finding_says_its_side() -> None:
    sides = TASK.findings[0].of_sides(["L", "R"])
    card = replace(RELEASE.card, task=replace(TASK, findings=sides), temperatures=(1.0, 1.0))
    said = Said((("nodule_left", 0.25),), ())  # of a left image, which is not asked of the right side
    (told,) = service_module.answer("1", Looked(RELEASE.hash, card, said)).findings
    assert (told.key, told.laterality, told.meaning) == ("nodule_left", "L", "Nodule")
    (plain,) = service_module.answer("2", Looked(RELEASE.hash, RELEASE.card, Said((("nodule", 0.5),), ()))).findings
    assert plain.laterality == ""
