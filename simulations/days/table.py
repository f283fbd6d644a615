"""The loops' figures, as means over seeds: what a person reads, and what the plots draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .course import TRAINED, Course, Day, Finish, Work
from .running import Days
from .terms import DaysTerms

HOW = {
    "hand": "by hand",
    "commoner": "the commoner class proposed for every image",
    "commoner unseen": "the commoner class accepted for every image, unseen",
    "shown": "proposals shown",
    "alone": "accepted unseen from {precision} on, each hospital by its own hidden share",
    "together": "accepted unseen from {precision} on, by all hospitals' hidden shares as one",
}
# These do not depend on what the loop learned, so that one order speaks for all.
BASELINES = ("hand", "commoner", "commoner unseen")


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over seeds, with the least and the most of them."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """One way of labelling everything, over all seeds.

    actions, seconds: of one study (all images of one patient), over all of them. saved: modelled seconds saved against
    by hand, as a share; saved_actions: the same of actions. error: of stated findings; by_hand_error: by hand. better:
    seeds in which the error is no higher than by hand. unseen: share of the images that nobody had read when the days
    were over; precision: of the images accepted unseen, how many are right (over all seeds together; None: none were
    accepted). able, sites: hospitals that could accept any, summed over seeds, of so many.
    """

    order: str
    how: str
    asked: float | None
    label: str
    actions: Mean
    seconds: Mean
    saved: Mean
    saved_actions: Mean
    error: Mean
    by_hand_error: float
    better: int
    seeds: int
    unseen: Mean | None
    precision: float | None
    able: int
    sites: int


def lines(days: Days) -> list[Line]:
    """Every way of labelling everything: the baselines once, then each order of the worklist."""
    orders = days.study.days.orders
    found = [_line(days.of(orders[0]), how, None) for how in BASELINES]
    for order in orders:
        courses = days.of(order)
        found += [_line(courses, one.how, one.precision) for one in courses[0].finishes if one.how not in BASELINES]
    return found


def _line(courses: Sequence[Course], how: str, asked: float | None) -> Line:
    picked = [_finish(course, how, asked) for course in courses]
    hand = [_finish(course, "hand", None).work for course in courses]
    errors, by_hand = [_error(one.work) for one in picked], [_error(one) for one in hand]
    looked = [one for one in picked if one.precision is not None]
    unseen = sum(one.unseen for one in looked)
    words = HOW[how].format(precision="" if asked is None else f"{100 * asked:g} %")
    return Line(
        order="" if how in BASELINES else courses[0].order,
        how=how,
        asked=asked,
        label=words if how in BASELINES else f"{courses[0].order}: {words}",
        actions=mean([one.work.actions / course.patients for one, course in zip(picked, courses, strict=True)]),
        seconds=mean([one.work.seconds / course.patients for one, course in zip(picked, courses, strict=True)]),
        saved=mean([_saved(one.work.seconds, by.seconds) for one, by in zip(picked, hand, strict=True)]),
        saved_actions=mean([_saved(one.work.actions, by.actions) for one, by in zip(picked, hand, strict=True)]),
        error=mean(errors),
        by_hand_error=mean(by_hand).value,
        better=sum(one <= by for one, by in zip(errors, by_hand, strict=True)),
        seeds=len(courses),
        unseen=mean([one.unseen / one.waiting if one.waiting else 0.0 for one in looked]) if looked else None,
        precision=sum(one.right for one in looked) / unseen if unseen else None,
        able=sum(one.able for one in looked),
        sites=sum(one.sites for one in looked),
    )


def mean(values: Sequence[float]) -> Mean:
    """The mean with the least and the most."""
    return Mean(sum(values) / len(values), min(values), max(values))


def by_day(courses: Sequence[Course], value: Callable[[Day], float | None]) -> list[tuple[int, Mean]]:
    """A figure against days: the mean over the seeds that have it on that day."""
    found: list[tuple[int, Mean]] = []
    for at, day in enumerate(courses[0].days):
        known = [one for course in courses if (one := value(course.days[at])) is not None]
        if known:
            found.append((day.day, mean(known)))
    return found


def saved_after(day: Day) -> float:
    """The share of modelled seconds saved against by hand, up to this day."""
    return _saved(day.work.seconds, day.by_hand.seconds)


def headline(days: Days) -> str:
    """What was run, in one sentence."""
    terms, first = days.study.days, days.courses[0]
    seeds = len({course.seed for course in days.courses})
    return (
        f"{days.study.name}: {terms.days} days of {terms.studies_a_day} studies at each hospital, "
        f"{first.images:,} images of {first.patients:,} patients; {seeds} {'seed' if seeds == 1 else 'seeds'}"
    )


def notes(days: Days) -> list[str]:
    """What a reader of the figures should know."""
    terms = days.study.days
    said = [
        "Readers are scripted, and seconds are modelled by the study's costs. A study is all images of one patient.",
        f"{100 * terms.hidden_share:g} % of the patients are read with the proposal hidden"
        + (", by two readers and a third where they differ," if terms.hidden_readings == 3 else "")
        + " and never trained on. Accepting unseen is decided on them alone, with 95 % confidence.",
        "A threshold's promise is about the images above it, read or not, of patients like the hidden ones. It counts "
        "a patient once; the precision printed counts images.",
        "All hospitals' hidden shares as one are what a simulation may look at: a federation would charge for it.",
        _entering(terms),
        _budget(days),
        "Updates were summed in the clear and noise came from a seed: only a simulation may.",
    ]
    if days.study.synthetic:
        said.insert(0, "Every image is a synthetic phantom; the figures say nothing about patients.")
    nights = {(day.day, day.night) for one in days.courses for day in one.days}
    refused = sorted(night for night in nights if night[1] not in ("", TRAINED))
    said += [f"No training in the night after day {day}: {why}. Labelling went on." for day, why in refused[:6]]
    if len(refused) > 6:
        said.append(f"The same on {len(refused) - 6} more nights.")
    return said


def _entering(terms: DaysTerms) -> str:
    if terms.enters == "independent":
        return "Each patient enters training on a day drawn without looking at any image."
    return (
        "Each patient enters training by a coin of their own, whose chance follows from public numbers and from what "
        "the released model says of that patient alone; other labels wait."
    )


def _budget(days: Days) -> str:
    terms = days.study.days
    if terms.mode == "none":
        return "The nights are not private at all (mode none)."
    most = max(one.days[-1].committed for one in days.courses)
    trained = min(sum(day.night == TRAINED for day in one.days) for one in days.courses)
    return (
        f"Nights are plans of mode {terms.mode}, epsilon {terms.epsilon:g} and {terms.rounds} rounds each, charged to "
        f"ledgers with a cap of {terms.epsilon_cap:g}: {most:g} committed at the end, {trained} of {terms.nights} "
        "nights trained."
    )


def _finish(course: Course, how: str, asked: float | None) -> Finish:
    return next(one for one in course.finishes if (one.how, one.precision) == (how, asked))


def _error(work: Work) -> float:
    return work.error or 0.0


def _saved(spent: float, by_hand: float) -> float:
    return 1.0 - spent / by_hand if by_hand else 0.0
