"""The whole way round with real parts: a PACS sends studies, and gets reports and segmentations of them back.

Orthanc sends by C-STORE; the node receives, gates, de-identifies and stores; a release proposes and a reader reads;
what they say goes back by STOW-RS and C-STORE, and Orthanc lists it by QIDO-RS under the original patients. All of it
runs in one network namespace, where nobody else can reach it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
JOURNEY = Path(__file__).parent / "pacs" / "journey.py"
# Killed with all that runs in it, so that no Orthanc outlives a test that was stopped.
ALONE = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


def missing() -> str:
    """Why this machine cannot run the scenario; "" when it can."""
    if shutil.which("Orthanc") is None:
        return "Orthanc (Debian: orthanc) is not installed"
    if not PLUGIN.exists():
        return "Orthanc's DICOMweb plug-in (Debian: orthanc-dicomweb) is not installed"
    probe = subprocess.run([*ALONE, "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else "this user may make no network namespace, in which Orthanc must be shut"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was seen at each station of the journey."""
    reason = missing()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("pacs")
    script = 'ip link set lo up && exec "$0" "$@"'
    done = subprocess.run(
        [*ALONE, "bash", "-c", script, sys.executable, str(JOURNEY), str(folder)],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


# Three quarters of a minute alone, several on a machine whose cores are busy with other tests.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def of(seen: dict[str, Any], station: str, **wanted: str) -> list[dict[str, Any]]:
    return [one for one in seen[station] if all(one[name] == value for name, value in wanted.items())]


def test_studies_arrive_by_c_store_and_are_stored_without_their_identifiers(seen: dict[str, Any]) -> None:
    assert any("3 new, 0 known, 0 quarantined" in line for line in seen["received"])
    assert sorted((image["modality"], image["frames"]) for image in seen["stored"]) == [("DX", 1), ("DX", 1), ("US", 3)]
    assert not any(image["clear"] for image in seen["stored"])


def test_results_go_back_by_stow_and_are_read_again_from_the_archive(seen: dict[str, Any]) -> None:
    sent = seen["by stow"]
    assert sent["status"] == 0, sent
    assert sent["complete"] and not sent["refused"]
    # A reader's word on a radiograph and on a frame of the loop, a model's on the other radiograph.
    assert sent["saved"]["findings"] == 3
    assert sent["saved"]["heatmaps"] == 2
    assert sent["proofs"] == {"read back": sum(sent["saved"].values())}


def test_the_archive_lists_them_by_qido_under_the_original_patients(seen: dict[str, Any]) -> None:
    assert seen["patients after"] == seen["patients before"] == {"P1": "Müller^Änne", "P3": "Second^Sam"}
    held, sent = seen["stored in archive"], seen["by stow"]["saved"]
    assert len(held) == sum(sent.values())
    assert {(one["patient"], one["study"]) for one in held} == {("P1", "1.2.4.1"), ("P3", "1.2.4.3")}
    reports = of(seen, "stored in archive", modality="SR")
    flags = sorted((one["patient"], one["preliminary"], one["verified"]) for one in reports)
    assert flags == [
        ("P1", "FINAL", "UNVERIFIED"),
        ("P1", "PRELIMINARY", "UNVERIFIED"),
        ("P3", "FINAL", "UNVERIFIED"),
    ]
    assert len(of(seen, "stored in archive", modality="SEG")) == sent["regions"] + sent["heatmaps"]


def test_what_is_there_is_not_sent_again(seen: dict[str, Any]) -> None:
    assert seen["again"]["saved"] == {}
    assert seen["again"]["already"] == sum(seen["by stow"]["saved"].values())


def test_an_archive_that_is_away_gets_nothing_and_nothing_is_said_to_be_saved(seen: dict[str, Any]) -> None:
    assert seen["while away"]["status"] == 1
    assert "cannot be reached" in seen["while away"]["error"]


def test_by_c_store_the_same_objects_are_the_same_and_the_signed_reports_are_new(seen: dict[str, Any]) -> None:
    sent = seen["by c-store"]
    assert sent["status"] == 0, sent
    assert sent["signed"] == 2
    assert sent["proofs"] == {"answered": sum(sent["saved"].values())}
    before = {one["uid"] for one in seen["stored in archive"]}
    new = [one for one in seen["stored after c-store"] if one["uid"] not in before]
    assert sorted((one["patient"], one["preliminary"], one["verified"]) for one in new) == [
        ("P1", "FINAL", "VERIFIED"),
        ("P3", "FINAL", "VERIFIED"),
    ]
    assert before <= {one["uid"] for one in seen["stored after c-store"]}


def test_the_audit_log_of_it_all_verifies(seen: dict[str, Any]) -> None:
    assert seen["audit"] == 0
