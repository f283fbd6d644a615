"""Asking a PACS for studies by DICOMweb (PS3.18: QIDO-RS, then WADO-RS one instance at a time) into the spool.

dicomweb-client speaks the protocol, but parses what it retrieves; that is the gate's work, so instances are taken as
bytes. Nothing is read beyond its bound, redirects are not followed, and the environment's proxies and passwords are
not used: the PACS is named in the settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import NodeError
from ..gate import SOP_CLASSES
from ..spool import Spool
from .settings import IntakeSettings, IntakeSettingsError

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_PAGE, _MOST_INSTANCES = 500, 100_000
_LONGEST_ANSWER = 64 << 20
_SLACK = 64 << 10  # a multipart answer's own lines
_SECONDS = (10.0, 60.0)
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'


class PullError(NodeError):
    """The PACS cannot be asked, or answers what cannot be used."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which studies: by patient identifier, study UID, day or days (20240131 or 20240101-20240131), modality."""

    patient: str = ""
    study: str = ""
    date: str = ""
    modality: str = ""

    def filters(self) -> dict[str, str]:
        """As QIDO's attributes. Raises PullError when nothing narrows the search, or a value cannot be one."""
        if not (self.patient or self.study or self.date):
            raise PullError("everything that the PACS holds was asked for", fix="name a patient, a study or a date")
        if self.study and not (len(self.study) <= 64 and _UID.fullmatch(self.study)):
            raise PullError(f"{self.study!r} is not a study instance UID", fix="give digits and dots")
        if self.date and not re.fullmatch(r"\d{8}(-\d{8})?", self.date):
            raise PullError(f"{self.date!r} is not a date", fix="write 20240131 or 20240101-20240131")
        found = {
            "PatientID": self.patient,
            "StudyInstanceUID": self.study,
            "StudyDate": self.date,
            "ModalitiesInStudy": self.modality,
        }
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True, slots=True)
class Pulled:
    """How many studies matched, how many instances now wait in the spool, and how many were not images."""

    studies: int
    instances: int
    others: int


def pull(
    settings: IntakeSettings, wanted: Wanted, spool: Spool, advance: Callable[[int], None] | None = None
) -> Pulled:
    """Bring every image of the studies that `wanted` describes into the spool. Raises PullError, DiskFullError.

    advance: told how many instances have come. What was pulled before a failure waits in the spool; pulling again
    brings it again, and the store knows it then.
    """
    if not settings.dicomweb:
        raise PullError("no PACS is named", where="intake.toml", fix='set dicomweb = "https://pacs/dicom-web"')
    filters = wanted.filters()
    pacs = _Pacs(settings)
    classes = {*SOP_CLASSES, *settings.extra_classes}
    studies = instances = others = 0
    for study in pacs.studies(filters):
        studies += 1
        for series, instance, sop_class in pacs.instances(study):
            if sop_class and sop_class not in classes:
                others += 1
                continue
            content = pacs.instance(study, series, instance)
            spool.put(f"pulled from {pacs.name}, {instance}", content)
            instances += 1
            if instances > _MOST_INSTANCES:
                raise PullError(f"more than {_MOST_INSTANCES} instances match", fix="ask for fewer studies at a time")
            if advance is not None:
                advance(instances)
    return Pulled(studies, instances, others)


class _Pacs:
    def __init__(self, settings: IntakeSettings) -> None:
        from dicomweb_client.api import DICOMwebClient

        self.name = settings.dicomweb.partition("://")[2].partition("/")[0]
        self._base = settings.dicomweb.rstrip("/")
        self._longest = (settings.file_megabytes << 20) + _SLACK
        self._session = _session(settings, max(_LONGEST_ANSWER, self._longest))
        self._client: Any = DICOMwebClient(self._base, session=self._session)
        self._client.set_http_retry_params(retry=False)

    def studies(self, filters: dict[str, str]) -> Iterator[str]:
        for found in self._pages(self._client.search_for_studies, search_filters=filters):
            yield _uid(found, "0020000D")

    def instances(self, study: str) -> Iterator[tuple[str, str, str]]:
        for found in self._pages(self._client.search_for_instances, study_instance_uid=study):
            yield _uid(found, "0020000E"), _uid(found, "00080018"), _text(found, "00080016")

    def _pages(self, search: Callable[..., Any], **what: Any) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            with self._clear():
                page = search(limit=_PAGE, offset=offset, **what)
            if not isinstance(page, list):
                raise PullError("the PACS answers a search with something else", where=self.name)
            yield from (one for one in page if isinstance(one, dict))
            if len(page) < _PAGE:
                return
            offset += len(page)

    def instance(self, study: str, series: str, instance: str) -> bytes:
        url = f"{self._base}/studies/{study}/series/{series}/instances/{instance}"
        with self._clear():
            answer = self._session.get(url, headers={"Accept": _ACCEPT}, timeout=_SECONDS)
            if answer.status_code != 200:
                raise PullError(f"the PACS answers {answer.status_code} for an instance", where=self.name)
            return _part(answer.headers.get("Content-Type", ""), answer.content, self.name)

    @contextmanager
    def _clear(self) -> Generator[None]:
        import requests

        try:
            yield
        except (requests.RequestException, ValueError) as fault:
            raise PullError(
                f"the PACS cannot be asked ({type(fault).__name__})",
                where=self.name,
                fix="check dicomweb, its user and password, and its certificate in intake.toml",
            ) from fault


def _session(settings: IntakeSettings, longest: int) -> Any:
    """A requests session that reads answers up to a bound and goes nowhere but to the PACS."""
    import requests

    class Bounded(requests.Session):
        """Reads each answer at once, up to the bound, and follows no redirect."""

        def request(self, method: Any, url: Any, *more: Any, **options: Any) -> Any:
            options.update(stream=True, allow_redirects=False)
            options.setdefault("timeout", _SECONDS)
            answer = super().request(method, url, *more, **options)
            if answer.is_redirect:
                raise PullError("the PACS sends elsewhere", where=str(url).partition("?")[0], fix="correct dicomweb")
            data = bytearray()
            for piece in answer.iter_content(1 << 20):
                data += piece
                if len(data) > longest:
                    answer.close()
                    raise PullError(
                        f"the PACS answers with more than {longest} bytes", where=str(url).partition("?")[0]
                    )
            # requests has no other way to hand on a body that it did not read itself.
            answer._content = bytes(data)  # pyright: ignore[reportPrivateUsage]
            return answer

    session = Bounded()
    session.trust_env = False
    session.verify = settings.dicomweb_authority or True
    if settings.dicomweb_user:
        session.auth = (settings.dicomweb_user, _password(settings.dicomweb_password_file))
    return session


def _password(file: str) -> str:
    try:
        path = Path(file)
        if path.stat().st_mode & 0o077:
            raise IntakeSettingsError("the password file is open to other users", where=file, fix=f"chmod 600 {file}")
        return path.read_text(encoding="utf-8").strip()
    except OSError as fault:
        raise IntakeSettingsError(
            f"the password file cannot be read ({fault.strerror})", where=file, fix="correct dicomweb_password_file"
        ) from fault


def _text(found: dict[str, Any], tag: str) -> str:
    """The first value of an element in DICOM JSON (PS3.18 annex F), "" when absent."""
    element = found.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""


def _uid(found: dict[str, Any], tag: str) -> str:
    """A UID that is going to be part of an address."""
    uid = _text(found, tag)
    if len(uid) > 64 or not _UID.fullmatch(uid):
        raise PullError(f"the PACS lists an object whose {tag} is no UID")
    return uid


def _part(kind: str, body: bytes, where: str) -> bytes:
    """The one part of a multipart/related answer (RFC 2387), or the body itself if it is application/dicom."""
    media, _, parameters = kind.partition(";")
    if media.strip().lower() == "application/dicom":
        return body
    boundary = re.search(r'boundary="?([^";]+)"?', parameters)
    if media.strip().lower() == "multipart/related" and boundary is not None:
        mark = b"--" + boundary[1].strip().encode("ascii", "replace")
        start = body.find(mark)
        head = body.find(b"\r\n\r\n", start)
        end = body.rfind(b"\r\n" + mark)
        if 0 <= start < head < end:
            return body[head + 4 : end]
    raise PullError(f"the PACS answers with {media.strip()[:80]!r} instead of a DICOM file", where=where)
