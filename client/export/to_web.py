"""Results to a PACS by STOW-RS (PS3.18 section 10.5), which is then asked what it holds by QIDO-RS and WADO-RS."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TypeVar

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset

from .destination import Proof
from .errors import NotTakenError, PacsError
from .objects import Made
from .pacs import Pacs
from .reading_back import compare

T = TypeVar("T")

_SECONDS = 60.0
# What a server says of a service that it does not offer, or not to us.
_NOT_OFFERED = frozenset({400, 401, 403, 404, 405, 406, 415, 501})
_REASONS = {
    0x0110: "it failed while processing",
    0x0122: "it does not take this kind of object",
    0xA700: "it has no room",
    0xA900: "it says that the object does not fit its kind",
    0xC000: "it could not understand the object",
    0xC122: "it does not take this transfer syntax",
    0xC409: "the PACS has another object under this UID, or under another study",
}


class WebDestination:
    """A PACS that takes objects by STOW-RS.

    seconds: how long it may take to answer anything.
    """

    def __init__(self, pacs: Pacs, seconds: float = _SECONDS) -> None:
        self._pacs = pacs
        session = requests.Session()
        if pacs.authority is not None:
            session.verify = str(pacs.authority)
        if pacs.user:
            session.auth = (pacs.user, pacs.password)
        self._client = DICOMwebClient(pacs.web, session=session, timeout=seconds)
        # Whoever exports again tries again; waiting here would only look like hanging.
        self._client.set_http_retry_params(retry=False)

    @property
    def _where(self) -> str:
        return f"{self._pacs.name} ({self._pacs.web})"

    @property
    def name(self) -> str:
        return self._pacs.name

    @property
    def remembered(self) -> bool:
        return True

    def holds(self, made: Made) -> bool:
        return False

    def save(self, made: Made) -> Proof:
        dataset = dcmread(BytesIO(made.data))
        try:
            answer = self._reach(lambda: self._client.store_instances([dataset], made.study_uid))
        except requests.HTTPError as fault:
            raise self._refused(fault) from fault
        self._judge(answer, made)
        return self._ask_again(made)

    def close(self) -> None:
        """Connections are closed with the process."""

    def _reach(self, ask: Callable[[], T]) -> T:
        """Ask the server; PacsError where no answer comes. An answer that is a refusal is left to the caller."""
        try:
            return ask()
        except requests.HTTPError:
            raise
        except (requests.RequestException, OSError) as fault:
            raise PacsError(
                f"the PACS does not answer ({type(fault).__name__})",
                where=self._where,
                fix="check the address and the certificate, then export again; what is saved is not sent twice",
            ) from fault

    def _refused(self, fault: requests.HTTPError) -> NotTakenError | PacsError:
        status = 0 if fault.response is None else fault.response.status_code
        if status in (401, 403, 404) or status >= 500:
            return PacsError(
                f"the PACS answers {status} to everything that is stored",
                where=self._where,
                fix="check the address and the user, or ask the PACS's administrator",
            )
        reason = ""
        if status == 409 and fault.response is not None:
            reason = _failure(_parsed(fault.response))
        return NotTakenError(
            f"the PACS did not store the object (HTTP {status}{f': {reason}' if reason else ''})",
            where=self._where,
            fix="ask the PACS's administrator, then export again",
        )

    def _judge(self, answer: Dataset, made: Made) -> None:
        """PS3.18 table 10.5.3-1: the object must stand among those stored, and not among those that failed."""
        reason = _failure(answer)
        stored = {str(item.ReferencedSOPInstanceUID) for item in answer.get("ReferencedSOPSequence", [])}
        if reason or made.sop_uid not in stored:
            raise NotTakenError(
                f"the PACS did not store the object: {reason or 'its answer does not name it'}",
                where=self._where,
                fix="ask the PACS's administrator, then export again",
            )

    def _ask_again(self, made: Made) -> Proof:
        try:
            held = self._reach(
                lambda: self._client.retrieve_instance(
                    made.study_uid, made.series_uid, made.sop_uid, media_types=(("application/dicom", "*"),)
                )
            )
        except requests.HTTPError as fault:
            status = 0 if fault.response is None else fault.response.status_code
            if status not in _NOT_OFFERED:
                raise PacsError(f"the PACS answers {status} when asked again", where=self._where) from fault
            return self._search(made)
        try:
            compare(held, made.meant, self._where)
        except Exception as fault:
            raise NotTakenError(str(fault), where=self._where) from fault
        return "read back"

    def _search(self, made: Made) -> Proof:
        """Where objects cannot be fetched again, they may still be listed."""
        try:
            found = self._reach(
                lambda: self._client.search_for_instances(
                    made.study_uid, search_filters={"SOPInstanceUID": made.sop_uid}
                )
            )
        except requests.HTTPError:
            return "answered"
        if not found:
            raise NotTakenError(
                "the PACS says that it stored the object, and does not find it when asked",
                where=self._where,
                fix="ask the PACS's administrator whether it keeps such objects",
            )
        return "found again"


def _parsed(response: requests.Response) -> Dataset:
    try:
        return Dataset.from_json(response.json())
    except ValueError:
        return Dataset()


def _failure(answer: Dataset) -> str:
    failed = answer.get("FailedSOPSequence") or []
    if not failed:
        return ""
    code = int(failed[0].get("FailureReason", 0) or 0)
    return f"{_REASONS.get(code, 'it gives no reason we know')} (reason {code:04X})"
