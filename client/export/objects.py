"""From results to DICOM objects in bytes, each one read back and compared before it leaves this module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, SegmentationStorage

from ..deidentify.original import Original
from .errors import ExportError
from .identity import evidence
from .naming import MAKER, derived_uid
from .reading_back import (
    Meant,
    ReportContent,
    check,
    meant_header,
    meant_report,
    meant_segmentation,
)
from .results import Result
from .segmentation import FULL, covered, heatmap_segmentation, regions_segmentation
from .structured_report import Signature, structured_report

What = Literal["findings", "regions", "heatmaps"]
KINDS: tuple[What, ...] = get_args(What)

# Far above what scanners count up to, so that ours stand at the end of a study.
_SERIES_NUMBERS: dict[What, int] = {"findings": 9701, "regions": 9702, "heatmaps": 9703}


@dataclass(frozen=True, slots=True)
class Names:
    """An object's place: its UIDs, its series, and who made it (site: the hospital, node: a random id of the node)."""

    series_uid: str
    series_number: int
    series_description: str
    sop_uid: str
    node: str
    site: str


@dataclass(frozen=True, slots=True)
class Made:
    """A DICOM object as Part-10 bytes that have been read back. key: its name in the record of exports.

    instance, result: the store's ids of the image that it is about and of what is said; study_uid, series_uid, sop_uid:
    where it goes.
    """

    kind: What
    key: str
    instance: str
    result: str
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    meant: Meant = field(repr=False)
    data: bytes = field(repr=False)


class Workshop:
    """Makes the objects of one node. node: a random id of its store, site: its name, version: of this software."""

    def __init__(self, node: str, site: str, version: str) -> None:
        self._node = node
        self._site = site
        self._version = version

    def key(self, kind: What, result: Result, with_regions: bool, signature: tuple[str, str] | None = None) -> str:
        """The name of an object in the record of exports: equal for equal content, and saying nothing about it."""
        signed = () if signature is None or kind != "findings" else ("signed", *signature)
        of = [said.finding.key for said in result.said] if kind == "heatmaps" else []
        regions = "with regions" if kind == "findings" and with_regions and result.places else ""
        return derived_uid(self._node, kind, result.id, regions, *signed, *of)

    def make(
        self,
        kind: What,
        result: Result,
        original: Original,
        *,
        with_regions: bool,
        signature: Signature | None = None,
        predecessors: Sequence[str] = (),
        maps: NDArray[np.float32] | None = None,
        geometry: Dataset | None = None,
    ) -> Made | None:
        """One object of a result; None where there is none of this kind to make (regions of a result without any).

        with_regions: whether the result's regions are exported as well, which a report then refers to. predecessors:
        SOP instance UIDs of reports on the same image that this one takes the place of. maps: (findings, rows, columns)
        for a heatmap.
        """
        try:
            return self._made(kind, result, original, with_regions, signature, predecessors, maps, geometry)
        except (KeyError, ValueError, TypeError, AttributeError) as fault:
            # highdicom and pydicom raise these for an original that cannot be referred to, or whose values are none.
            raise ExportError(
                f"no DICOM object can be made of this result ({type(fault).__name__}: {str(fault)[:200]})",
                where=result.instance.id,
                fix="look at the image's identifiers in the PACS; if they are right, report this",
            ) from fault

    def _made(
        self,
        kind: What,
        result: Result,
        original: Original,
        with_regions: bool,
        signature: Signature | None,
        predecessors: Sequence[str],
        maps: NDArray[np.float32] | None,
        geometry: Dataset | None,
    ) -> Made | None:
        header = evidence(original, geometry)
        signed = None if signature is None or not result.reviewed else signature
        key = self.key(kind, result, with_regions, None if signed is None else (signed.name, signed.organisation))
        names = self._names(kind, original, key, *predecessors)
        if kind == "findings":
            dataset, content = self._report(result, original, header, names, with_regions, signed, predecessors)
        elif kind == "regions":
            if not result.places:
                return None
            dataset = regions_segmentation(result, header, names, self._version)
            rows, columns = result.instance.rows, result.instance.columns
            content = meant_segmentation(
                [place.finding for place in result.places],
                [covered(place, rows, columns).astype(np.uint8) * np.uint8(FULL) for place in result.places],
                result,
                original.sop_uid,
            )
        else:
            if maps is None:
                raise ExportError("a heatmap without maps", where=result.instance.id)
            # Rounded here, so that what is written is known exactly, whatever rounding the library does.
            stored = np.rint(maps * np.float32(FULL)).astype(np.uint8)
            dataset = heatmap_segmentation(
                result, stored.astype(np.float32) / np.float32(FULL), header, names, self._version
            )
            content = meant_segmentation(
                [said.finding for said in result.said],
                list(stored),
                result,
                original.sop_uid,
            )
        meant = Meant(meant_header(original, names.series_uid, names.sop_uid), content)
        data = _bytes(dataset)
        check(data, meant, result.instance.id)
        return Made(
            kind=kind,
            key=key,
            instance=result.instance.id,
            result=result.id,
            study_uid=original.study_uid,
            series_uid=names.series_uid,
            sop_uid=names.sop_uid,
            sop_class=str(dataset.SOPClassUID),
            meant=meant,
            data=data,
        )

    def _report(
        self,
        result: Result,
        original: Original,
        header: Dataset,
        names: Names,
        with_regions: bool,
        signature: Signature | None,
        predecessors: Sequence[str],
    ) -> tuple[Dataset, ReportContent]:
        segmentation = None
        if with_regions and result.places:
            # The same names as when the regions themselves are made, so that the reference meets them.
            beside = self._names("regions", original, self.key("regions", result, with_regions))
            segmentation = _reference(SegmentationStorage, header.StudyInstanceUID, beside.series_uid, beside.sop_uid)
        report = structured_report(
            result,
            header,
            names,
            self._version,
            segmentation=segmentation,
            with_regions=with_regions,
            signature=signature,
            predecessors=[
                _reference(ComprehensiveSRStorage, header.StudyInstanceUID, names.series_uid, uid)
                for uid in predecessors
            ],
        )
        content = meant_report(
            result,
            original.sop_uid,
            "" if segmentation is None else str(segmentation.SOPInstanceUID),
            with_regions=with_regions,
            signature=signature,
        )
        return report, content

    def _names(self, kind: What, original: Original, key: str, *more: str) -> Names:
        return Names(
            series_uid=derived_uid(self._node, "series", kind, original.study_uid, original.series_uid),
            series_number=_SERIES_NUMBERS[kind],
            series_description=f"{MAKER} {kind}: research use, not a medical device",
            sop_uid=derived_uid(self._node, "instance", key, original.sop_uid, *more),
            node=self._node,
            site=self._site,
        )


def _reference(sop_class: str, study_uid: str, series_uid: str, sop_uid: str) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = sop_class, sop_uid
    made.StudyInstanceUID, made.SeriesInstanceUID = study_uid, series_uid
    return made


def _bytes(dataset: Dataset) -> bytes:
    target = BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()
