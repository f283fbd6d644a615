from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Image(_message.Message):
    __slots__ = ("id", "instance", "sop_instance_uid")
    ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SOP_INSTANCE_UID_FIELD_NUMBER: _ClassVar[int]
    id: str
    instance: bytes
    sop_instance_uid: str
    def __init__(
        self, id: _Optional[str] = ..., instance: _Optional[bytes] = ..., sop_instance_uid: _Optional[str] = ...
    ) -> None: ...

class Proposal(_message.Message):
    __slots__ = ("id", "release", "applicable", "reason", "findings", "regions")
    ID_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    APPLICABLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    id: str
    release: str
    applicable: bool
    reason: str
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    regions: _containers.RepeatedCompositeFieldContainer[Region]
    def __init__(
        self,
        id: _Optional[str] = ...,
        release: _Optional[str] = ...,
        applicable: bool = ...,
        reason: _Optional[str] = ...,
        findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...,
        regions: _Optional[_Iterable[_Union[Region, _Mapping]]] = ...,
    ) -> None: ...

class Finding(_message.Message):
    __slots__ = ("key", "scheme", "code", "meaning", "probability", "laterality")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MEANING_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    LATERALITY_FIELD_NUMBER: _ClassVar[int]
    key: str
    scheme: str
    code: str
    meaning: str
    probability: float
    laterality: str
    def __init__(
        self,
        key: _Optional[str] = ...,
        scheme: _Optional[str] = ...,
        code: _Optional[str] = ...,
        meaning: _Optional[str] = ...,
        probability: _Optional[float] = ...,
        laterality: _Optional[str] = ...,
    ) -> None: ...

class Region(_message.Message):
    __slots__ = ("finding", "x0", "y0", "x1", "y1")
    FINDING_FIELD_NUMBER: _ClassVar[int]
    X0_FIELD_NUMBER: _ClassVar[int]
    Y0_FIELD_NUMBER: _ClassVar[int]
    X1_FIELD_NUMBER: _ClassVar[int]
    Y1_FIELD_NUMBER: _ClassVar[int]
    finding: str
    x0: float
    y0: float
    x1: float
    y1: float
    def __init__(
        self,
        finding: _Optional[str] = ...,
        x0: _Optional[float] = ...,
        y0: _Optional[float] = ...,
        x1: _Optional[float] = ...,
        y1: _Optional[float] = ...,
    ) -> None: ...
