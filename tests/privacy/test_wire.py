"""The canonical encoding: one meaning, one hash; and nothing but WireError for anything else."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.privacy import wire
from medquorum.privacy.errors import WireError
from medquorum.privacy.messages import Countersignature, Greeting, Introduction, Invitation, Step, StepAnswer
from medquorum.privacy.plan import Plan, PlanSite, PrivacyTerms, TrainingTerms
from medquorum.task import Finding, Task


@dataclass(frozen=True, slots=True)
class Leaf:
    whole: int
    real: float
    text: str


@dataclass(frozen=True, slots=True)
class Tree:
    flag: bool
    data: bytes
    choice: Literal["red", "green"]
    maybe: Leaf | None
    many: tuple[Leaf, ...]
    pair: tuple[int, str]


floats = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
leaves = st.builds(Leaf, st.integers(), floats, texts)
trees = st.builds(
    Tree,
    flag=st.booleans(),
    data=st.binary(max_size=40),
    choice=st.sampled_from(["red", "green"]),
    maybe=st.none() | leaves,
    many=st.lists(leaves, max_size=3).map(tuple),
    pair=st.tuples(st.integers(), texts),
)
counts = st.integers(0, 2**40)
hashes = st.binary(min_size=32, max_size=32)
purposes = st.sampled_from(["update", "evaluation"])
blobs = st.binary(max_size=60)
messages = st.one_of(
    st.builds(Greeting),
    st.builds(Introduction, texts, texts),
    st.builds(Invitation, blobs, blobs, blobs),
    st.builds(Countersignature, hashes, texts, st.booleans(), floats, texts),
    st.builds(Step, hashes, purposes, counts, counts, blobs, blobs),
    st.builds(StepAnswer, hashes, purposes, counts, counts, texts, blobs, texts),
)


def a_plan() -> Plan:
    return Plan(
        consortium="c",
        name="n",
        task=Task((Finding("mass", "SCT", "1", "Mass"),), "DX"),
        release=bytes(32),
        sites=(PlanSite("north", 100), PlanSite("south", 5)),
        quorum=2,
        rounds=3,
        training=TrainingTerms("fedavg", 1, 0.1, 0.0, 0.0, (1.0,), 0.0, False, 1.0, 0.9, 0.99, 1e-3),
        privacy=PrivacyTerms("local", 8.0, 1e-3, 0.1, 2.0, 10.0, 1.0, "mean"),
        evaluation=None,
        seed=1,
    )


@given(trees)
def test_what_is_encoded_comes_back_and_encodes_the_same(tree: Tree) -> None:
    data = wire.encode(tree)
    assert wire.decode(Tree, data) == tree
    assert wire.encode(wire.decode(Tree, data)) == data


@given(messages)
def test_every_message_comes_back(message: Any) -> None:
    assert wire.decode(type(message), wire.encode(message)) == message


def test_a_plan_comes_back_with_its_hash() -> None:
    plan = a_plan()
    back = wire.decode(Plan, wire.encode(plan))
    assert back == plan
    assert back.hash == plan.hash == wire.digest(plan)
    assert dataclasses.replace(plan, seed=2).hash != plan.hash


@given(trees, trees)
def test_different_meanings_have_different_hashes(one: Tree, other: Tree) -> None:
    # 0.0 and -0.0 are equal to Python and different to the wire.
    assert (wire.digest(one) == wire.digest(other)) == (wire.encode(one) == wire.encode(other))
    if one != other:
        assert wire.digest(one) != wire.digest(other)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_as_such(data: bytes) -> None:
    for kind in (Tree, Plan, Step):
        with pytest.raises(WireError):
            wire.decode(kind, data)


@given(trees, st.data())
def test_damaged_bytes_are_refused_or_mean_something_else_canonically(tree: Tree, data: st.DataObject) -> None:
    whole = wire.encode(tree)
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    try:
        other = wire.decode(Tree, damaged)
    except WireError:
        return
    assert wire.encode(other) == damaged


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.integers(), inner, max_size=3),
    max_leaves=12,
)


@given(plain_values)
def test_any_other_cbor_is_refused(value: Any) -> None:
    with pytest.raises(WireError):
        wire.decode(Tree, cbor2.dumps(value, canonical=True))


@given(trees, st.sampled_from(["flag", "data", "choice", "maybe", "many", "pair", "kind", "v"]), plain_values)
def test_a_field_of_another_type_is_refused_or_canonical(tree: Tree, name: str, value: Any) -> None:
    plain = cbor2.loads(wire.encode(tree))
    plain[name] = value
    data = cbor2.dumps(plain, canonical=True)
    try:
        back = wire.decode(Tree, data)
    except WireError:
        return
    assert wire.encode(back) == data


@given(trees)
def test_a_missing_a_surplus_and_a_trailing_part_are_refused(tree: Tree) -> None:
    data = wire.encode(tree)
    plain = cbor2.loads(data)
    without = {key: value for key, value in plain.items() if key != "flag"}
    for wrong in (
        cbor2.dumps(without, canonical=True),
        cbor2.dumps({**plain, "more": 1}, canonical=True),
        data + b"\x00",
    ):
        with pytest.raises(WireError):
            wire.decode(Tree, wrong)
    with pytest.raises(WireError):
        wire.decode(Tree, data[:-1])


LEAF = Leaf(1, 1.5, "a")


@pytest.mark.parametrize(
    "spelling",
    [
        # Every one of these is CBOR for the same leaf as `LEAF`, in a form that encode would not have written.
        lambda plain: cbor2.dumps(dict(reversed(list(plain.items())))),
        lambda plain: cbor2.dumps(plain, canonical=True).replace(b"\xf9\x3e\x00", b"\xfa\x3f\xc0\x00\x00"),
        lambda plain: cbor2.dumps(plain, canonical=True).replace(
            b"\xf9\x3e\x00", b"\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00"
        ),
        lambda plain: cbor2.dumps(plain, canonical=True).replace(b"ewhole\x01", b"ewhole\x18\x01"),
        lambda plain: cbor2.dumps(plain, canonical=True).replace(b"dtextaa", b"dtext\x78\x01a"),
        lambda plain: cbor2.dumps(plain, canonical=True).replace(b"dtextaa", b"dtext\x7faa\xff"),
        lambda plain: b"\xbf" + cbor2.dumps(plain, canonical=True)[1:] + b"\xff",
        lambda plain: b"\xd9\xd9\xf7" + cbor2.dumps(plain, canonical=True),
        lambda plain: b"\xa6" + cbor2.dumps(plain, canonical=True)[1:] + b"ewhole\x01",
    ],
    ids=["order", "float32", "float64", "long int", "long text", "pieces", "open map", "tagged", "twice the same key"],
)
def test_other_spellings_of_the_same_meaning_are_refused(spelling: Any) -> None:
    canonical = wire.encode(LEAF)
    other = spelling(cbor2.loads(canonical))
    assert other != canonical, "the spelling must differ to test anything"
    with pytest.raises(WireError):
        wire.decode(Leaf, other)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(WireError, match="finite"):
        wire.decode(Leaf, wire.encode(Leaf(1, value, "")))


def test_a_whole_number_is_no_float_and_a_bool_no_whole_number() -> None:
    with pytest.raises(WireError, match="should be float"):
        wire.decode(Leaf, wire.encode(Leaf(1, 2, "")))
    with pytest.raises(WireError, match="should be int"):
        wire.decode(Leaf, wire.encode(Leaf(True, 2.0, "")))


def test_another_kind_and_another_version_are_refused_by_name() -> None:
    with pytest.raises(WireError, match="should be a Introduction, is 'Greeting'"):
        wire.decode(Introduction, wire.encode(Greeting()))
    plain = cbor2.loads(wire.encode(Greeting()))
    plain["v"] = 2
    with pytest.raises(WireError, match="version 2") as refusal:
        wire.decode(Greeting, cbor2.dumps(plain, canonical=True))
    assert "update medquorum" in refusal.value.fix


def test_a_rule_of_the_dataclass_itself_holds_on_arrival_too() -> None:
    plain = cbor2.loads(wire.encode(a_plan()))
    plain["privacy"]["clip"] = -1.0
    with pytest.raises(WireError, match="clip is -1"):
        wire.decode(Plan, cbor2.dumps(plain, canonical=True))


@pytest.mark.parametrize("deep", [b"\x81" * 100 + b"\x00", b"\x81" * 100_000 + b"\x00", b"\xa1\x00" * 5000 + b"\x00"])
def test_deep_nesting_is_refused(deep: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode(Tree, deep)


@pytest.mark.parametrize(
    "promise", [b"\x9b" + b"\xff" * 8, b"\x5b" + b"\x7f" + b"\xff" * 7, b"\xbb" + b"\x0f" + b"\xff" * 7]
)
def test_a_length_that_is_only_promised_is_refused(promise: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode(Tree, promise)


def test_what_cannot_travel_is_refused_on_the_way_out() -> None:
    @dataclass(frozen=True)
    class Odd:
        value: object

    with pytest.raises(WireError, match="cannot travel"):
        wire.encode(Odd(object()))


def test_a_side_is_told_and_what_has_none_is_encoded_as_before_there_were_sides() -> None:
    plan = a_plan()
    assert b"laterality" not in wire.encode(plan)
    left, right = plan.task.findings[0].of_sides(["L", "R"])
    sided = dataclasses.replace(plan, task=Task((left,), "DX"))
    assert wire.decode(Plan, wire.encode(sided)) == sided
    assert sided.hash != dataclasses.replace(plan, task=Task((right,), "DX")).hash
    # One meaning has one spelling: no side is not spelled, and another word than these is no side.
    for spelled, said in (("", "not in canonical form"), ("B", "is none of"), (None, "is none of")):
        plain = cbor2.loads(wire.encode(plan))
        plain["task"]["findings"][0]["laterality"] = spelled
        with pytest.raises(WireError, match=said):
            wire.decode(Plan, cbor2.dumps(plain, canonical=True))
