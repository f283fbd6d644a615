"""The loop over days: what is read, what enters training, what nights cost, and that no loop is run twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_study import PICTURES, pictures, tiny
from typer.testing import CliRunner

from medquorum.cli import app
from medquorum.simulations.compare.folds import Fold
from medquorum.simulations.days import course, running
from medquorum.simulations.days.course import TRAINED, Work
from medquorum.simulations.days.desk import Desk, Shown
from medquorum.simulations.days.finish import finishes
from medquorum.simulations.days.running import run_days
from medquorum.simulations.days.show import markdown
from medquorum.simulations.days.table import lines, notes
from medquorum.simulations.days.worklist import coin, doubt_of, entry_chance, reading_order
from medquorum.simulations.errors import StudyError, StudyRefusedError

DAYS = """
[days]
days = 4
studies_a_day = 3
orders = ["random", "uncertainty"]
first_night = 2
nights_between = 1
rounds = 1
epsilon = 3.2
epsilon_cap = 6.5
precisions = [0.6]
"""


def study_of(folder: Path, *changes: tuple[str, str]):
    return tiny(folder, *changes, text=PICTURES.replace("[compare]", f"{DAYS}\n[compare]"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("days")
    data = pictures(folder / "data")
    study = study_of(folder)
    return run_days(study, data, folder / "out", 1), study, data, folder / "out"


# What enters training.

people = st.dictionaries(st.text(min_size=1, max_size=6), st.floats(0.0, 1.0), min_size=1, max_size=12)


def entering(patients: dict[str, float], order: str, days: int) -> dict[str, int]:
    """The day on which each patient enters, under one released model's doubts."""
    names, doubt = list(patients), np.array(list(patients.values()))
    entered: dict[str, int] = {}
    for day in range(1, days + 1):
        for name, chance in zip(names, entry_chance(order, "released", day, 0.2, doubt), strict=True):
            if name not in entered and coin(b"k" * 32, name, day) < chance:
                entered[name] = day
    return entered


@given(
    people, st.text(min_size=7, max_size=9), st.floats(0.0, 1.0), st.sampled_from(["random", "uncertainty", "hybrid"])
)
def test_a_patient_more_changes_nobody_elses_entering(patients, newcomer, doubt, order):
    before = entering(patients, order, 8)
    after = entering({newcomer: doubt, **patients}, order, 8)
    after.pop(newcomer, None)
    assert after == before


def test_the_most_uncertain_would_displace_one_another():
    """Why there is a rule at all: of N places, a newcomer takes somebody's."""
    names, doubt = ["a", "b", "c"], np.array([0.9, 0.5, 0.7])
    two = {names[one] for one in reading_order("uncertainty", doubt, np.zeros(3))[:2]}
    more = {["a", "b", "c", "new"][one] for one in reading_order("uncertainty", np.append(doubt, 0.8), np.zeros(4))[:2]}
    assert two == {"a", "c"}
    assert more - {"new"} != two


def test_days_of_entering_are_even_and_never_more_than_a_days_work_is_expected():
    names = [str(one) for one in range(4000)]
    sure = np.zeros(4000)
    entered = np.zeros(4000, bool)
    for day in range(1, 6):
        chance = entry_chance("random", "released", day, 0.2, sure)
        now = np.array([coin(b"x", name, day) for name in names]) < chance
        assert abs(float((now & ~entered).mean()) - 0.2) < 0.03
        assert (entry_chance("uncertainty", "released", day, 0.2, sure) <= chance).all()
        assert (entry_chance("uncertainty", "independent", day, 0.2, sure) == chance).all()
        entered |= now
    assert entered.all()


def test_doubt_is_of_the_least_certain_image_and_finding():
    assert doubt_of(np.array([[0.99, 0.02], [0.6, 0.0]])) == pytest.approx(0.8)
    assert doubt_of(np.array([[0.0, 1.0]])) == 0.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.sampled_from(["random", "uncertainty", "hybrid"]))
def test_every_order_reads_each_patient_once(doubt, order):
    lots = np.linspace(0, 1, len(doubt))
    assert sorted(reading_order(order, np.array(doubt), lots)) == list(range(len(doubt)))


# What the section takes.


@pytest.mark.parametrize("value", ["read", "local"])
def test_what_no_accountant_could_account_for_is_refused(tmp_path, value):
    with pytest.raises(StudyRefusedError, match="cannot be accounted for") as refused:
        study_of(tmp_path, ("first_night", f'enters = "{value}"\nfirst_night'))
    assert "days.enters" in refused.value.where


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (('["random", "uncertainty"]', '["alphabetical"]'), "alphabetical"),
        (('["random", "uncertainty"]', "[]"), "no order"),
        (("rounds = 1\neps", "hidden_readings = 2\nrounds = 1\neps"), "settle nothing"),
        (("epsilon = 3.2", "epsilon = 7.0"), "a cap of 6.5"),
        (("[0.6]", "[1.0]"), "a precision of 1"),
        (("days = 4", "dayz = 4"), "dayz"),
    ],
    ids=["order", "none", "readings", "cap", "precision", "key"],
)
def test_a_wrong_section_names_the_key(tmp_path, change, match):
    with pytest.raises(StudyError, match=match) as wrong:
        study_of(tmp_path, change)
    assert "days" in wrong.value.where


def test_a_hidden_share_that_leaves_nobody_to_test_on_is_refused(tmp_path):
    study = study_of(tmp_path, ("days = 4", "days = 4\nhidden_share = 0.4"))
    with pytest.raises(StudyError, match="leaves none"):
        run_days(study, tmp_path, tmp_path / "out", 1)


# The loop.


def test_work_adds_up_over_the_days(finished):
    days, _, _, _ = finished
    assert [(one.seed, one.order) for one in days.courses] == [(1, "random"), (1, "uncertainty")]
    for one in days.courses:
        assert [day.day for day in one.days] == [1, 2, 3, 4]
        for earlier, later in zip(one.days, one.days[1:], strict=False):
            assert later.work.seconds >= earlier.work.seconds and later.trained_on >= earlier.trained_on
        for day in one.days:
            assert day.work.images == day.by_hand.images == day.commoner.images == 2 * day.studies
            assert day.trained_on <= day.studies
            assert day.by_hand.seconds == 5.0 * day.by_hand.images  # looking, and stating one finding
        # Two hospitals of three studies a day, unless nobody is left; where more enter, fewer are read ahead.
        assert one.days[-1].studies >= min(2 * 3 * 4, one.patients)


def test_a_spent_budget_ends_training_and_not_labelling(finished):
    days, _, _, _ = finished
    for one in days.courses:
        nights = [day.night for day in one.days]
        assert nights[:3] == ["", TRAINED, TRAINED]
        assert "of the cap of 6.5 is left" in nights[3]
        assert one.days[3].studies > one.days[2].studies
        assert [day.committed for day in one.days] == pytest.approx([0.0, 3.2, 6.4, 6.4])
        assert one.days[3].auroc == one.days[2].auroc
    assert any("No training in the night after day 4" in note and "Labelling went on" in note for note in notes(days))


def test_asked_again_nothing_is_run_again_but_what_was_lost(finished, monkeypatch):
    days, study, data, out = finished
    ran: list[tuple[int, str]] = []
    real = running.run_loop

    def noted(fold, terms, order, folder, advance):
        ran.append((fold.study.seed, order))
        return real(fold, terms, order, folder, advance)

    monkeypatch.setattr(running, "run_loop", noted)
    assert run_days(study, data, out, 1).courses == days.courses
    assert ran == []
    (out / "loops" / "seed1-uncertainty.json").unlink()  # as if it had been killed there
    again = run_days(study, data, out, 1)
    assert ran == [(1, "uncertainty")]
    assert again.courses == days.courses


def test_a_folder_of_something_else_is_refused(finished, tmp_path):
    _, study, data, out = finished
    with pytest.raises(StudyRefusedError, match="other settings"):
        run_days(replace(study, days=replace(study.days, rounds=2)), data, out, 1)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "file").touch()
    with pytest.raises(StudyRefusedError, match="something else"):
        run_days(study, data, tmp_path / "strange", 1)
    course.save(days_course := finished[0].courses[0], tmp_path)
    assert course.load(1, "random", tmp_path) == days_course
    (tmp_path / "seed1-random.json").write_text('{"schema": 1}', encoding="utf-8")
    with pytest.raises(StudyError, match="cannot be read back"):
        course.load(1, "random", tmp_path)


# One hospital.


class ReachedError(Exception):
    """The first loop was about to begin, on this fold."""

    def __init__(self, fold: Fold) -> None:
        super().__init__()
        self.fold = fold


def stopped(fold, *_):
    raise ReachedError(fold)


@pytest.fixture(scope="module")
def fold(tmp_path_factory):
    """120 patients of one image in two hospitals, of whom 40 % are held out."""
    folder = tmp_path_factory.mktemp("fold")
    data = pictures(folder / "data", patients=120, images=1)
    study = study_of(folder, ('names = ["North", "South"]', 'names = ["North", "South"]\nheld_out = 0.4'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "run_loop", stopped)
        with pytest.raises(ReachedError) as reached:
            run_days(study, data, folder / "out", 1)
    return reached.value.fold


def perfect(fold) -> Shown:
    """A model that is right about every image, and surer of some than of others."""
    sure = 0.6 + 0.39 * np.linspace(0.0, 1.0, len(fold.truth))[:, None]
    chances = np.where(fold.truth == 1.0, sure, 1.0 - sure)
    return Shown("f" * 64, chances, np.zeros((len(chances), 1, 1, 1), np.float32))


def test_hidden_patients_are_never_trained_on_and_are_read_without_a_proposal(fold):
    desk = Desk(fold, fold.wards[0], 0, 0.25)
    for patient in range(len(desk.trained)):
        desk.read_patient(patient, perfect(fold))
        desk.entered[patient] = True
    while desk.hidden_read < len(desk.hidden):
        desk.read_hidden(1)
    trained = desk.training_rows()
    hidden = {fold.images.pictures[row].key for rows in desk.hidden for row in rows.tolist()}
    outside = {fold.images.pictures[row].key for row in desk.outside.tolist()}
    used = {record.instance for record in trained.records}
    assert len(used) == len(desk.trained) and not used & hidden and not used & outside and not hidden & outside
    assert desk.work.seconds == 4.0 * len(desk.trained) + 5.0 * len(desk.hidden)  # accepted, against stated by hand


def test_three_readers_settle_what_one_gets_wrong(fold):
    careless = replace(fold, study=replace(fold.study, readers=replace(fold.study.readers, error_rate=0.2)))
    errors: dict[int, float] = {}
    for readings in (1, 3):
        desks = [Desk(careless, ward, number, 0.3) for number, ward in enumerate(careless.wards)]
        total = Work()
        for desk in desks:
            while desk.hidden_read < len(desk.hidden):
                desk.read_hidden(readings)
            total = total.plus(desk.work)
        errors[readings] = total.error or 0.0
        assert total.seconds >= 5.0 * readings * total.images * (0.66 if readings == 3 else 1.0)
    assert errors[3] < errors[1]


def test_accepting_unseen_needs_hidden_patients_and_a_model(fold):
    terms = replace(fold.study.days, precisions=(0.6, 0.95), hidden_share=0.3)
    desks = [Desk(fold, ward, number, 0.3) for number, ward in enumerate(fold.wards)]
    found = {(one.how, one.precision): one for one in finishes(desks, [perfect(fold)] * 2, terms)}
    waiting = sum(len(desk.trained) for desk in desks)
    together, alone = found["together", 0.6], found["alone", 0.6]
    assert (together.unseen, together.right, together.able) == (waiting, waiting, 2)
    assert alone.unseen == alone.right > 0
    assert found["alone", 0.95].unseen == 0 and found["alone", 0.95].needed == 59
    assert together.work.seconds < found["shown", None].work.seconds
    assert found["commoner unseen", None].work.seconds == 0.0
    desks = [Desk(fold, ward, number, 0.3) for number, ward in enumerate(fold.wards)]
    untrained = finishes(desks, [None, None], terms)
    assert all(one.unseen == 0 for one in untrained)


def test_a_model_that_guesses_is_not_accepted(fold):
    terms = replace(fold.study.days, precisions=(0.8,), hidden_share=0.3)
    desks = [Desk(fold, ward, number, 0.3) for number, ward in enumerate(fold.wards)]
    blind = replace(perfect(fold), chances=np.full(fold.truth.shape, 0.7))
    found = {(one.how, one.precision): one for one in finishes(desks, [blind] * 2, terms)}
    assert found["together", 0.8].unseen == 0
    assert found["together", 0.8].work == found["shown", None].work


# What comes out.


def test_the_files_say_what_was_found(finished, tmp_path):
    days, _, data, out = finished
    study = out.parent / "study.toml"
    done = CliRunner().invoke(
        app, ["simulate", "days", str(study), "--data", str(data), "--out", str(out), "--seeds", "1", "--json"]
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["schema"] == "medquorum.days/1"
    assert [one["label"] for one in told["lines"]] == [line.label for line in lines(days)]
    assert told["terms"]["epsilon_cap"] == 6.5
    rows = (out / "days.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 4 and rows[0].startswith("seed,order,day,studies")
    assert (out / "days.md").read_text() == markdown(days)
    page = (out / "days.html").read_text()
    assert "http" not in page.replace("http-equiv", "") and "Research use only" in page
    for name in ("effort", "model", "saving"):
        assert (out / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_two_forms_of_output_are_refused(finished):
    done = CliRunner().invoke(app, ["simulate", "days", "demo", "--json", "--markdown"])
    assert done.exit_code != 0
    assert isinstance(done.exception, StudyError | SystemExit)


def test_the_starting_model_proposes_nothing(finished, monkeypatch):
    days, _, _, _ = finished
    for one in days.courses:
        first = one.days[0]
        assert first.auroc is None
        assert first.work.seconds >= first.by_hand.seconds  # by hand, and hidden ones by two readers
