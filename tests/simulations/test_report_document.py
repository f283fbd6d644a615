"""report.json: loses nothing, holds only JSON, says what it cannot read, and is what docs/report.md says."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medquorum.simulations.errors import StudyError
from medquorum.simulations.report import Report, dump, from_document, load, to_document
from medquorum.simulations.report.plots import draw_all
from medquorum.simulations.results import CalibrationBin, Estimate

DOCS = Path(__file__).parents[2] / "docs" / "report.md"


def strict(text: str):
    def refuse(name: str):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("sites", [1, 4, 10])
def test_nothing_is_lost(make_result, sites):
    report = Report(make_result(sites), "medquorum demo --seed 7")
    assert from_document(strict(dump(report))) == report


def test_from_the_file_alone_every_plot_is_drawn_again(make_result, tmp_path):
    whole = make_result()
    report = Report(dataclasses.replace(whole, sheet=whole.sheet[:3]), "medquorum demo")
    (tmp_path / "report.json").write_text(dump(report))
    assert draw_all(load(tmp_path / "report.json").result) == draw_all(report.result)


def test_the_keys_that_are_promised_are_there(make_result):
    document = to_document(Report(make_result(), "medquorum demo"))
    promised = "study seed sites pooled federated rounds bytes_sent engine aggregation"
    assert set(promised.split()) <= set(document)
    site = "name patients images epsilon delta auroc_before auroc_after actions_saved"
    assert all(set(site.split()) <= set(one) for one in document["sites"])
    first = document["sites"][0]
    assert all(isinstance(first[key], float) for key in ("auroc_before", "auroc_after", "actions_saved", "epsilon"))


def paths(value, prefix="", free=("prevalence", "auroc", "auroc_interval", "versions")):
    """Every key of the document as a dotted path, with [] for a list's items and <...> where keys are names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            path = f"{prefix}.{key}" if prefix else key
            yield path
            if key not in free or not isinstance(inner, dict):
                yield from paths(inner, path, free)
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, prefix + "[]", free)


def test_every_key_is_documented_and_every_documented_key_exists(make_result):
    documented = set(re.findall(r"^\| `([^`]+)` \|", DOCS.read_text(), re.MULTILINE))
    written = set(paths(to_document(Report(make_result(10), "medquorum demo"))))
    assert documented == written


def test_equal_runs_have_equal_figures_whatever_the_clock_says(make_result):
    once = make_result()
    rounds = tuple(dataclasses.replace(done, seconds=done.seconds * 3) for done in once.rounds)
    again = dataclasses.replace(once, seconds=1.0, rounds=rounds, versions=(("torch", "2.14"),))
    first = to_document(Report(once, "medquorum demo"))
    second = to_document(Report(again, "medquorum demo --out elsewhere"))
    assert first["figures"] == second["figures"]
    differing = {key for key in first if first[key] != second[key]}
    assert differing == {"timing", "versions", "command"}


def test_any_changed_figure_changes_the_digest(make_result):
    result = make_result()
    site = dataclasses.replace(result.sites[2], bytes_sent=result.sites[2].bytes_sent + 1)
    other = dataclasses.replace(result, sites=(*result.sites[:2], site, *result.sites[3:]))
    assert to_document(Report(result, ""))["figures"] != to_document(Report(other, ""))["figures"]


ODD = st.floats(allow_nan=True, allow_infinity=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture is a pure function
@given(value=ODD, low=ODD, stated=ODD, epsilon=ODD, norm=ODD, share=ODD)
def test_neither_nan_nor_infinity_reaches_the_file(make_result, value, low, stated, epsilon, norm, share):
    result = make_result(2, rounds=2)
    site = dataclasses.replace(
        result.sites[0], epsilon=epsilon, auroc_after=Estimate(value, low, 1.0), prevalence=(share, 0.5), dice=value
    )
    broken = dataclasses.replace(
        result,
        sites=(site, result.sites[1]),
        rounds=(
            dataclasses.replace(result.rounds[0], update_norm=norm, auroc=(Estimate(share, low, 1.0), None)),
            result.rounds[1],
        ),
        calibration=(CalibrationBin(stated, share, 3),),
        seconds=norm,
        sheet=(),
    )
    back = from_document(strict(dump(Report(broken, "")))).result
    kept = all(map(math.isfinite, (value, low)))
    assert back.sites[0].auroc_after == (Estimate(value, low, 1.0) if kept else None)
    assert back.sites[0].epsilon == (epsilon if math.isfinite(epsilon) else math.inf)
    assert back.calibration[0].stated == stated or (
        math.isnan(back.calibration[0].stated) and not math.isfinite(stated)
    )


def test_without_privacy_epsilon_is_null_and_read_back_as_infinite(make_result):
    result = make_result(2)
    sites = tuple(dataclasses.replace(site, epsilon=math.inf, epsilon_cap=math.inf) for site in result.sites)
    free = dataclasses.replace(result, mode="none", sites=sites)
    document = to_document(Report(free, ""))
    assert document["sites"][0]["epsilon"] is None
    assert from_document(document).result == free


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda d: d.pop("seed"), "seed"),
        (lambda d: d.update(seed="7"), "seed"),
        (lambda d: d.update(seed=True), "seed"),
        (lambda d: d.update(synthetic=1), "synthetic"),
        (lambda d: d["sites"][1].pop("patients"), "sites[1].patients"),
        (lambda d: d["sites"][1].update(patients=-1), "sites[1].patients"),
        (lambda d: d["sites"][0]["effort"].update(actions="many"), "sites[0].effort.actions"),
        (lambda d: d["sites"][0].update(auroc_after_interval=[0.1]), "sites[0].auroc_after_interval"),
        (lambda d: d["sites"][0]["prevalence"].pop("nodule"), "sites[0].prevalence.nodule"),
        (lambda d: d["rounds"][2].update(survivors=[3]), "rounds[2].survivors[0]"),
        (lambda d: d["timing"].update(rounds=[]), "timing.rounds"),
        (lambda d: d["sheet"][0].update(image="%"), "sheet[0].image"),
        (lambda d: d.update(versions=["torch"]), "versions"),
        (lambda d: d.update(sites={}), "sites"),
        (lambda d: d.update(schema="medquorum.report/99"), "schema"),
    ],
)
def test_a_fault_is_named_by_its_key(make_result, change, place):
    document = strict(dump(Report(make_result(2, rounds=3), "")))
    change(document)
    with pytest.raises(StudyError) as caught:
        from_document(document)
    assert caught.value.where == place
    assert caught.value.fix


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"report"', "{}"])
def test_a_file_that_is_no_report_is_bad_input(tmp_path, content):
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(StudyError) as caught:
        load(path)
    assert caught.value.exit_code == 2
    with pytest.raises(StudyError, match="No such file"):
        load(tmp_path / "absent.json")


def test_colluders_and_what_they_would_learn_survive_the_round_trip(make_result):
    shared = dataclasses.replace(make_result(), mode="distributed", colluding=1, collusions=(8.0, math.inf))
    assert from_document(to_document(Report(shared, "x"))).result == shared
