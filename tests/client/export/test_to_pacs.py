"""C-STORE to a PACS that behaves, refuses, breaks off or is not there."""

from __future__ import annotations

import io
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pydicom
import pytest
from exports import MODEL, ORIGINAL, WORKSHOP, make_result
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, RLELossless, SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from medquorum import cli
from medquorum.client.export.errors import ExportRequestError, NotTakenError, PacsError
from medquorum.client.export.pacs import Pacs
from medquorum.client.export.to_pacs import StoreDestination
from medquorum.privacy.certificates import issue, make_authority

REPORT, REGIONS = (
    WORKSHOP.make(kind, make_result(MODEL), ORIGINAL, with_regions=True) for kind in ("findings", "regions")
)


@dataclass
class Archive:
    """A PACS in this process. status: its answer to every object; `after` objects it hangs up on the next one."""

    server: Any = None
    port: int = 0
    status: int = 0
    after: int = 10**9
    held: list[pydicom.Dataset] = field(default_factory=list)

    def pacs(self, **changes) -> Pacs:
        return Pacs(**({"name": "archive", "host": "127.0.0.1", "port": self.port, "called": "ARCHIVE"} | changes))


@pytest.fixture
def archive(request) -> Iterator[Archive]:
    with running(getattr(request, "param", [RLELossless, ExplicitVRLittleEndian])) as made:
        yield made


@pytest.fixture
def archive_of():
    return running


@contextmanager
def running(syntaxes: list[str], context: ssl.SSLContext | None = None) -> Iterator[Archive]:
    made = Archive()

    def store(event: evt.Event) -> int:
        if len(made.held) >= made.after:
            event.assoc.abort()
            return 0
        if made.status in (0, 0xB000):
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            made.held.append(dataset)
        return made.status

    entity = AE(ae_title="ARCHIVE")
    entity.require_called_aet = True
    entity.require_calling_aet = ["MEDQUORUM"]
    entity.add_supported_context(Verification)
    entity.add_supported_context(ComprehensiveSRStorage, ExplicitVRLittleEndian)
    entity.add_supported_context(SegmentationStorage, syntaxes)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, ssl_context=context, evt_handlers=[(evt.EVT_C_STORE, store)]
    )
    made.server, made.port = server, server.server_address[1]
    yield made
    server.shutdown()


@pytest.mark.parametrize(
    "archive", [[RLELossless, ExplicitVRLittleEndian], [ExplicitVRLittleEndian]], ids=["rle", "plain"], indirect=True
)
def test_objects_arrive_whole_in_a_transfer_syntax_that_the_pacs_takes(archive):
    destination = StoreDestination(archive.pacs())
    assert [destination.save(made) for made in (REGIONS, REPORT)] == ["answered", "answered"]
    destination.close()
    segmentation, report = archive.held
    sent = pydicom.dcmread(io.BytesIO(REGIONS.data))
    assert (segmentation.SOPInstanceUID, report.SOPInstanceUID) == (REGIONS.sop_uid, REPORT.sop_uid)
    assert (segmentation.pixel_array == sent.pixel_array).all()
    assert str(report.PatientName) == "Müller^Änne"


def test_an_association_that_the_pacs_ended_in_silence_is_opened_again(archive):
    destination = StoreDestination(archive.pacs())
    assert destination.save(REGIONS) == "answered"
    for association in archive.server.active_associations:
        association.abort()
    while destination._association.is_established:
        time.sleep(0.01)
    assert destination.save(REPORT) == "answered"
    destination.close()
    assert [one.Modality for one in archive.held] == ["SEG", "SR"]


def test_small_packets_are_sent_at_once(archive):
    destination = StoreDestination(archive.pacs())
    connection = destination._association.dul.socket.socket
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    destination.close()


def test_tls_is_spoken_to_the_one_whose_certificate_is_known(archive_of, tmp_path):
    for name in ("hospital", "other"):
        (tmp_path / name).mkdir()
        make_authority(tmp_path / name, name)
    issued = issue(tmp_path / "hospital", "archive", ("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    with archive_of([RLELossless], context) as archive:
        destination = StoreDestination(archive.pacs(tls=True, authority=issued.authority))
        assert destination.save(REGIONS) == "answered"
        destination.close()
        with pytest.raises(PacsError, match="cannot be reached"):
            StoreDestination(archive.pacs(tls=True, authority=tmp_path / "other" / "authority.pem"), seconds=3.0)
        (tmp_path / "none.pem").write_text("no certificate")
        with pytest.raises(ExportRequestError, match="cannot be used"):
            StoreDestination(archive.pacs(tls=True, authority=tmp_path / "none.pem"))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (0xA700, "it has no room"),
        (0x0122, "does not take this kind"),
        (0xC123, "no reason we know"),
    ],
    ids=["full", "kind", "unknown"],
)
def test_a_refused_object_is_not_saved(archive, status, said):
    archive.status = status
    destination = StoreDestination(archive.pacs())
    with pytest.raises(NotTakenError, match=said):
        destination.save(REPORT)
    destination.close()


def test_a_pacs_that_changes_values_has_the_object_and_says_so(archive):
    archive.status = 0xB000
    destination = StoreDestination(archive.pacs())
    assert destination.save(REPORT) == "stored with changes"
    destination.close()


@pytest.mark.parametrize("archive", [["1.2.840.10008.1.2.4.50"]], ids=["jpeg only"], indirect=True)
def test_a_pacs_without_the_kind_of_object_is_named(archive):
    destination = StoreDestination(archive.pacs())
    with pytest.raises(NotTakenError, match="takes no regions"):
        destination.save(REGIONS)
    assert destination.save(REPORT) == "answered"
    destination.close()


def test_nobody_there_and_a_wrong_name_are_told_apart(archive):
    with pytest.raises(PacsError, match="refuses the association"):
        StoreDestination(archive.pacs(called="OTHER"))
    with pytest.raises(PacsError, match="refuses the association"):
        StoreDestination(archive.pacs(calling="STRANGER"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(PacsError, match="cannot be reached"):
            StoreDestination(archive.pacs(port=free.getsockname()[1]), seconds=2.0)


def test_a_pacs_that_breaks_off_leaves_a_true_account_and_the_rest_goes_later(archive, hospital, capsys):
    (hospital.folder / "pacs.toml").write_text(
        f'[pacs.archive]\nhost = "127.0.0.1"\nport = {archive.port}\ncalled = "ARCHIVE"\n'
    )

    def export(*more):
        wanted = [part for image in hospital.images for part in ("--image", image)]
        code = cli.main(
            ["node", "export", "--folder", str(hospital.folder), "--to", "archive", "--json", *wanted, *more]
        )
        return code, json.loads(capsys.readouterr().out)

    archive.after = 2
    code, first = export()
    assert code == 1 and "broke off" in first["stopped"] and not first["complete"]
    assert sum(first["saved"].values()) == 2 == len(archive.held)
    assert [one["reason"] for one in first["refused"]] == ["the PACS broke off while it was sent"]

    archive.after = 10**9
    code, second = export()
    assert code == 0 and second["complete"] and second["already"] == 2
    uids = [one.SOPInstanceUID for one in archive.held]
    assert len(uids) == len(set(uids)) == 2 + sum(second["saved"].values())

    code, third = export()
    assert third["saved"] == {} and third["already"] == len(uids)
    assert export("--again")[1]["saved"] == {"regions": sum(u.Modality == "SEG" for u in archive.held[: len(uids)]),
                                             "findings": 3}  # fmt: skip


def test_a_later_word_names_the_one_before_it(archive, hospital, capsys):
    from medquorum.client.annotations import Annotation, new_id, utc_now

    (hospital.folder / "pacs.toml").write_text(
        f'[pacs.archive]\nhost = "127.0.0.1"\nport = {archive.port}\ncalled = "ARCHIVE"\n'
    )
    arguments = ["node", "export", "--folder", str(hospital.folder), "--to", "archive", "--what", "findings"]
    image = hospital.images[1]
    assert cli.main([*arguments, "--image", image]) == 0
    with hospital.open() as store:
        store.annotate(
            Annotation(new_id(), image, 0, "Reader", utc_now(), None, None, (("nodule", "absent"),), (), 1, 1.0, None)
        )
    assert cli.main([*arguments, "--image", image]) == 0
    assert cli.main([*arguments, "--image", image, "--sign", "A/B"]) == 0
    model, reader, signed = archive.held
    assert (model.PreliminaryFlag, reader.PreliminaryFlag, signed.VerificationFlag) == (
        "PRELIMINARY",
        "FINAL",
        "VERIFIED",
    )
    for later, earlier in ((reader, model), (signed, reader)):
        named = later.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        assert named.ReferencedSOPInstanceUID == earlier.SOPInstanceUID


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[pacs.archive]\nhost = "h"\ncalled = "A"\n', "port is missing"),
        ('[pacs.archive]\nhost = "h"\nport = 104\ncalled = "seventeen letters"\n', "called is no AE title"),
        ('[pacs.archive]\nweb = "ftp://x"\n', "web is no address"),
        ('[pacs.archive]\nweb = "http://x"\ncolour = 1\n', "unknown"),
        ('[pacs.archive]\nweb = "http://x"\npassword_file = "nowhere"\n', "cannot be read"),
        ("[pacs.other]\n", "no PACS called"),
        ("[pacs\n", "not valid TOML"),
    ],
    ids=["port", "title", "web", "key", "password", "name", "toml"],
)
def test_mistakes_in_the_settings_are_named(text, said, tmp_path):
    from medquorum.client.export.pacs import find_pacs

    (tmp_path / "pacs.toml").write_text(text)
    with pytest.raises(ExportRequestError, match=said):
        find_pacs(tmp_path, "archive")


def test_a_password_that_others_can_read_is_refused(tmp_path):
    from medquorum.client.export.pacs import find_pacs

    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    (tmp_path / "pacs.toml").write_text(
        f'[pacs.a]\nweb = "https://x/dicom-web/"\nuser = "u"\npassword_file = "{secret}"\n'
    )
    secret.chmod(0o644)
    with pytest.raises(ExportRequestError, match="chmod 600"):
        find_pacs(tmp_path, "a")
    secret.chmod(0o600)
    found = find_pacs(tmp_path, "a")
    assert (found.web, found.user, found.password) == ("https://x/dicom-web", "u", "hush")
    assert "hush" not in repr(found)
