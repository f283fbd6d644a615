"""Whole exports by the command line: what is saved, what is not and why, and nothing twice."""

from __future__ import annotations

import csv
import json
import sqlite3

import pydicom
import pytest

from medquorum import cli
from medquorum.client.annotations import Annotation, new_id, utc_now

EVERYTHING = ("--what", "findings,regions,heatmaps")


@pytest.fixture
def run(hospital, capsys):
    def export(*arguments, status=0):
        capsys.readouterr()
        code = cli.main(["node", "export", "--folder", str(hospital.folder), *map(str, arguments)])
        shown = capsys.readouterr()
        assert code == status, shown
        return shown.err if code == 2 or (code and not shown.out) else shown.out

    return export


def exported(folder, kind):
    return [pydicom.dcmread(path) for path in sorted(folder.glob(f"{kind}-*.dcm"))]


def test_a_folder_gets_every_result_under_its_original_patient(hospital, run, tmp_path):
    out = tmp_path / "out"
    shown = json.loads(
        run("--out", out, "--json", "--image", hospital.images[0], "--image", hospital.images[1], *EVERYTHING)
    )
    assert shown["complete"] and not shown["refused"]
    assert shown["saved"]["findings"] == 2 and shown["saved"]["heatmaps"] == 2 == shown["saved"]["regions"]
    assert set(shown["proofs"]) == {"read back"}
    reports = {report.PatientID: report for report in exported(out, "findings")}
    assert {name: str(report.PatientName) for name, report in reports.items()} == {"P1": "Patient^1", "P2": "Patient^2"}
    assert reports["P1"].StudyInstanceUID == "1.2.4.1"
    assert (reports["P1"].PreliminaryFlag, reports["P1"].VerificationFlag) == ("FINAL", "UNVERIFIED")
    assert (reports["P2"].PreliminaryFlag, reports["P2"].VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert all(path.stat().st_mode & 0o077 == 0 for path in out.iterdir())
    for heatmap in exported(out, "heatmaps"):
        assert heatmap.pixel_array.shape[-2:] == (32, 24)


def test_an_image_of_a_table_has_no_patient_to_go_back_to(hospital, run, tmp_path):
    shown = json.loads(run("--out", tmp_path / "out", "--json", status=1))
    assert [one["instance"] for one in shown["refused"]] == [hospital.table]
    assert "no patient and study to send it back to" in shown["refused"][0]["reason"]
    assert shown["saved"]["findings"] == 3 and not shown["complete"]
    assert "NOT saved, 1 objects" in run("--out", tmp_path / "other", status=1)


def test_what_is_there_is_not_written_again_unless_asked(hospital, run, tmp_path):
    out = tmp_path / "out"
    arguments = ("--out", out, "--json", "--image", hospital.images[0])
    first = json.loads(run(*arguments))
    second = json.loads(run(*arguments))
    assert second["saved"] == {} and second["already"] == sum(first["saved"].values())
    assert json.loads(run(*arguments, "--again"))["saved"] == first["saved"]
    next(out.glob("findings-*")).unlink()
    assert json.loads(run(*arguments))["saved"] == {"findings": 1}


def test_another_file_under_the_same_name_is_left_alone(hospital, run, tmp_path):
    out = tmp_path / "out"
    arguments = ("--out", out, "--json", "--image", hospital.images[0])
    run(*arguments)
    report = next(out.glob("findings-*"))
    report.write_bytes(b"something else")
    shown = json.loads(run(*arguments, status=1))
    assert "another file is there" in shown["refused"][0]["reason"]
    assert report.read_bytes() == b"something else"


def test_a_signature_is_recorded_and_only_for_what_a_person_said(hospital, run, tmp_path):
    out = tmp_path / "out"
    arguments = ("--out", out, "--json", "--image", hospital.images[0], "--image", hospital.images[1])
    shown = json.loads(run(*arguments, "--sign", "Grace Hopper/St. Anna"))
    assert shown["signed"] == 1
    reports = {report.PatientID: report for report in exported(out, "findings")}
    observer = reports["P1"].VerifyingObserverSequence[0]
    assert (str(observer.VerifyingObserverName), observer.VerifyingOrganization) == ("Grace Hopper^", "St. Anna")
    assert reports["P2"].VerificationFlag == "UNVERIFIED"
    with sqlite3.connect(hospital.folder / "exports.sqlite") as journal:
        assert journal.execute("SELECT name, organisation FROM signed").fetchall() == [("Grace Hopper", "St. Anna")]
    # The signing keeps its first moment, so that the same report is made again.
    assert json.loads(run(*arguments, "--sign", "Grace Hopper/St. Anna"))["already"] == shown["already"] + sum(
        shown["saved"].values()
    )


def test_every_export_and_refusal_is_in_the_audit_log_without_a_name(hospital, run, tmp_path):
    run("--out", tmp_path / "out", status=1)
    with hospital.open() as store:
        entries = [one for one in store.trail.entries() if one.kind in ("export", "refusal")]
    kinds = [one.what.get("what") for one in entries if one.kind == "export"]
    assert kinds.count("findings") == 3
    assert [one.what["instance"] for one in entries if one.kind == "refusal"] == [hospital.table]
    assert "Patient" not in str(entries) and "1.2.4" not in str(entries)


def test_a_frame_withdrawn_or_unseen_says_nothing(hospital, run, tmp_path):
    with hospital.open() as store:
        before = store.current_annotations()[hospital.read, 0]
        store.annotate(
            Annotation(
                new_id(),
                hospital.read,
                0,
                "Dr. Ada Lovelace",
                utc_now(),
                None,
                None,
                (("nodule", "not_assessed"),),
                (),
                1,
                1.0,
                before.id,
            )
        )
    shown = json.loads(run("--out", tmp_path / "out", "--json", "--image", hospital.read))
    assert shown["saved"] == {} and shown["silent"] == {"its reader stated nothing": 1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give one place"),
        (("--out", "x", "--to", "y"), "give one place"),
        (("--out", "x", "--what", "finding"), "'finding' cannot be exported"),
        (("--out", "x", "--sign", "nobody"), "is no signature"),
        (("--out", "x", "--image", "ff"), "no instance"),
        (("--to", "archive"), "there is no PACS called 'archive'"),
        (("--to", "archive", "--format", "csv"), "csv goes to a folder"),
        (("--out", "x", "--format", "csv", "--sign", "A/B"), "not for csv"),
    ],
    ids=["nowhere", "two places", "kind", "signature", "image", "pacs", "csv to pacs", "signed csv"],
)
def test_mistakes_are_one_line(run, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = 1 if said == "no instance" else 2
    line = run(*arguments, status=code)
    assert said in line and line.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_researchers_get_pseudonyms_only(hospital, run, tmp_path):
    run("--out", tmp_path / "csv", "--format", "csv")
    run("--out", tmp_path / "coco", "--format", "coco")
    with (tmp_path / "csv" / "findings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    read = next(row for row in rows if row["image"] == hospital.read)
    assert (read["observer"], read["state"], read["probability"]) == ("reader 1", "present", "")
    assert {row["observer"] for row in rows} == {"reader 1", "model"}
    coco = json.loads((tmp_path / "coco" / "coco.json").read_text())
    assert {image["id"] for image in coco["images"]} >= {one["image_id"] for one in coco["annotations"]}
    drawn = next(one for one in coco["annotations"] if one["origin"] == "drawn")
    assert drawn["bbox"] == [2, 3, 7.5, 8] and drawn["area"] == 60
    text = "".join(path.read_text() for folder in ("csv", "coco") for path in (tmp_path / folder).iterdir())
    for secret in (
        "Lovelace",
        "Patient^",
        "P1",
        "1.2.3",
        "1.2.4",
        "pseudonym-",
        "2.25.",
        ".dcm",
        "20240102",
        "St. Anna",
    ):
        assert secret not in text, secret
    assert "there already" in run("--out", tmp_path / "csv", "--format", "csv", status=2)
