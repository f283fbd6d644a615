"""Whether each PACS that results may go to (pacs.toml) answers: C-ECHO, or an empty query by DICOMweb."""

from __future__ import annotations

import ssl
import tomllib
from pathlib import Path

from ...errors import NodeError
from ...export.pacs import FILE, Pacs, find_pacs
from .check import Check, attempted, failed, passed, skipped

SECONDS = 10


def echoes(folder: Path) -> list[Check]:
    """One check for each PACS that the node in `folder` knows."""
    path = folder / FILE
    if not path.exists():
        return [skipped("PACS", f"{path} is not written yet; results are exported to folders only")]
    try:
        names = sorted(tomllib.loads(path.read_text(encoding="utf-8")).get("pacs", {}))
    except (OSError, ValueError) as fault:
        return [failed("PACS", f"{path}: {fault}", "correct that file")]
    if not names:
        return [skipped("PACS", f"{path} describes none")]
    return [_echo(folder, name) for name in names]


def _echo(folder: Path, name: str) -> Check:
    title = f"PACS {name}"
    try:
        pacs = find_pacs(folder, name)
    except NodeError as fault:
        return failed(title, f"{fault.where}: {fault.what}", fault.fix)
    return _web(title, pacs) if pacs.web else _dicom(title, pacs)


def _dicom(title: str, pacs: Pacs) -> Check:
    from pynetdicom.ae import ApplicationEntity
    from pynetdicom.sop_class import Verification  # pyright: ignore[reportAttributeAccessIssue]  # made at run time

    place = f"{pacs.host}:{pacs.port}"
    entity = ApplicationEntity(ae_title=pacs.calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = SECONDS
    entity.add_requested_context(Verification)
    try:
        tls = (ssl.create_default_context(cafile=pacs.authority), pacs.host) if pacs.tls else None
        association = entity.associate(pacs.host, pacs.port, ae_title=pacs.called, tls_args=tls)
    except OSError as fault:
        return failed(title, f"{pacs.authority}: {fault}", "name the certificate of the PACS's authority in pacs.toml")
    if association.is_rejected:
        fix = f"let the PACS's admin allow {pacs.calling} to call {pacs.called}, or correct both names in pacs.toml"
        return failed(title, f"{place} refuses {pacs.calling} calling {pacs.called}", fix)
    if not association.is_established:
        fix = "correct host, port and tls in pacs.toml, or ask for the firewall to be opened"
        return failed(title, f"no DICOM answer from {place} within {SECONDS} s", fix)
    try:
        status = association.send_c_echo().get("Status")
    finally:
        association.release()
    if status != 0:
        said = "nothing" if status is None else f"status {status:#06x}"
        return failed(
            title, f"{place} answers C-ECHO with {said}", "ask the PACS's admin to allow C-ECHO (verification)"
        )
    return passed(title, f"{pacs.called} at {place} answers C-ECHO")


def _web(title: str, pacs: Pacs) -> Check:
    import httpx

    def look() -> str:
        context = ssl.create_default_context(cafile=pacs.authority)
        login = (pacs.user, pacs.password) if pacs.user else None
        # A query that finds nothing: whether the service answers, and nobody's data.
        url = f"{pacs.web}/studies?StudyInstanceUID=2.25.0&limit=1"
        try:
            with httpx.Client(verify=context, trust_env=False, auth=login, timeout=SECONDS) as http:
                status = http.get(url, headers={"accept": "application/dicom+json"}).status_code
        except httpx.HTTPError as fault:
            raise NodeError(
                f"{pacs.web} cannot be reached ({fault})", fix="correct web and authority in pacs.toml, or the firewall"
            ) from fault
        if status in (401, 403):
            raise NodeError(f"{pacs.web} answers {status}", fix="correct user and password_file in pacs.toml")
        if status not in (200, 204, 404):
            raise NodeError(f"{pacs.web} answers {status}", fix="ask the PACS's admin for its DICOMweb address")
        return f"{pacs.web} answers"

    return attempted(title, look)
