// The figures of quality as tables with plots beside them.

import {el} from "./dom.js";
import {bars, intervals, reliability} from "./plots.js";
import {t} from "./words.js";

const BEYOND_CHANCE = {from: -0.5, to: 1, ticks: [-0.5, 0, 0.5, 1]};
const measured = (one, digits = 2) => (one ? `${one.value.toFixed(digits)} (${one.low.toFixed(digits)}–${one.high.toFixed(digits)})` : t("undefined_figure"));
const share = (one) => (one ? `${(100 * one.value).toFixed(0)} % (${(100 * one.low).toFixed(0)}–${(100 * one.high).toFixed(0)} %)` : t("undefined_figure"));

// heads: words; rows: [{cells: [text or element], current}]. Numbers are set to the right.
export function table(heads, rows) {
  const cell = (content) => el("td", {class: typeof content === "number" ? "number" : undefined}, typeof content === "number" ? String(content) : content);
  return el("table", {},
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", {scope: "col"}, head)))),
    el("tbody", {}, ...rows.map(({cells, current}) => el("tr", {"aria-current": current ? "true" : undefined}, ...cells.map(cell)))));
}

const beside = (shown, drawn, caption) => el("div", {class: "beside"}, shown,
  ...(drawn ? [el("figure", {}, drawn, el("figcaption", {}, caption))] : []));

export function agreementFigures(found, meaning) {
  const rows = [
    {label: t("alpha"), figure: found.alpha, frames: found.twice},
    {label: t("fleiss"), figure: found.fleiss, frames: found.twice},
    ...found.pairs.filter(({frames}) => frames).map((pair) => ({label: t("pair", pair), figure: pair.kappa, frames: pair.frames, dice: pair.dice})),
    ...found.blind.filter(({frames}) => frames).map((pair) => ({label: t("reader_blind", pair), figure: pair.kappa, frames: pair.frames})),
    ...found.shown.filter(({frames}) => frames).map((pair) => ({label: t("reader_shown", pair), figure: pair.kappa, frames: pair.frames})),
  ];
  const drawn = rows.filter(({figure}) => figure).map(({label, figure}) => ({label, ...figure}));
  const said = t("agreement_plot", {meaning});
  return [
    el("h3", {}, t("agreement_on", {meaning, frames: found.frames, twice: found.twice})),
    beside(
      table([t("who"), t("beyond_chance"), t("frames"), t("overlap")], rows.map(({label, figure, frames, dice}) => ({
        cells: [label, measured(figure), frames, dice ? measured(dice) : ""],
      }))),
      drawn.length ? intervals(drawn, {...BEYOND_CHANCE, said}) : null, said),
  ];
}

export function readerFigures(readers, meaning) {
  if (!readers.length) return [];
  const keys = [...new Set(readers.flatMap(({present}) => present.map(([key]) => key)))];
  const heads = [t("said_by"), t("frames"), t("without_proposal"), t("median_seconds"), t("mean_actions"), ...keys.map((key) => t("says_present", {meaning: meaning(key)}))];
  const percent = (value) => (value === undefined ? "" : `${(100 * value).toFixed(0)} %`);
  const rows = readers.map((one) => ({cells: [
    one.reader, one.frames, one.hidden, Number(one.seconds.toFixed(1)), Number(one.actions.toFixed(1)),
    ...keys.map((key) => percent(Object.fromEntries(one.present)[key])),
  ]}));
  const seconds = readers.map((one) => ({label: one.reader, value: one.seconds}));
  const plots = keys.map((key) => [meaning(key), readers.flatMap((one) =>
    one.present.filter(([finding]) => finding === key).map(([, value]) => ({label: one.reader, value})))]);
  return [
    beside(table(heads, rows), bars(seconds, {said: t("seconds_plot"), format: (value) => `${value.toFixed(1)} s`}), t("seconds_plot")),
    el("div", {class: "beside"}, ...plots.map(([name, shown]) => {
      const said = t("present_plot", {meaning: name});
      return el("figure", {}, bars(shown, {said, format: percent}), el("figcaption", {}, said));
    })),
  ];
}

export function hiddenFigures(hidden, meaning) {
  if (!hidden.read) return [];
  const effort = table([t("hidden_what"), t("hidden_figure")], [
    [t("hidden_read"), hidden.read], [t("hidden_proposed"), hidden.proposed],
    [t("hidden_actions"), measured(hidden.actions, 1)], [t("hidden_seconds"), measured(hidden.seconds, 1)],
    [t("hidden_model"), share(hidden.model)], [t("hidden_commoner"), share(hidden.commoner)],
  ].map((cells) => ({cells})));
  const right = [["hidden_model", hidden.model], ["hidden_commoner", hidden.commoner]].filter(([, one]) => one);
  const drawn = right.length
    ? intervals(right.map(([key, one]) => ({label: t(`${key}_short`), ...one})), {from: 0, to: 1, ticks: [0, 0.5, 1], said: t("right_plot")}) : null;
  return [
    beside(effort, drawn, t("right_plot")),
    ...hidden.findings.flatMap((one) => {
      const name = meaning(one.finding);
      const said = t("reliability_plot", {meaning: name});
      const rows = one.bins.map(({stated, observed, frames}) => ({cells: [stated.toFixed(2), measured(observed), frames]}));
      return [
        el("h3", {}, name),
        el("p", {}, t("hidden_line", {auroc: measured(one.auroc), error: measured(one.error), frames: one.frames, patients: one.patients, positives: one.positives})),
        beside(table([t("stated_chance"), t("observed_share"), t("frames")], rows),
          one.bins.length ? reliability(one.bins, {said, across: t("stated_chance"), up: t("observed_share")}) : null, said),
      ];
    }),
  ];
}

export function driftFigures(drift) {
  if (!drift.length) return [];
  const rows = drift.map((one) => ({cells: [
    t(`measure_${one.measure}`), t(one.drifted ? "drifted" : "as_before"), Number(one.before.toPrecision(4)), Number(one.now.toPrecision(4)),
    Number(one.distance.toFixed(2)), Number(one.p_value.toPrecision(2)),
  ]}));
  const heads = ["measure", "verdict", "median_before", "median_now", "distance", "p_value"];
  return [beside(table(heads.map((key) => t(key)), rows),
    bars(drift.map((one) => ({label: t(`measure_${one.measure}`), value: one.distance})), {said: t("drift_plot"), format: (value) => value.toFixed(2)}), t("drift_plot"))];
}
