// Readings of one frame that differ, beside each other: who settles takes one of them over, or states their own.

import {byId, el} from "./dom.js";
import {t} from "./words.js";

const LETTERS = "ABCDEFGH";
const KEYS = ["a", "b", "e"]; // further readings are taken over by their buttons

export const adjudicates = new URLSearchParams(location.search).get("adjudicate") === "1";

// What the readers say of the frame on the screen: [{id, name, states, regions, comment, letter}].
export const laid = (reading) => reading.others.map((one, place) => ({...one, letter: LETTERS[place] ?? String(place + 1)}));

const weighed = (said) => (said?.weighed ?? said?.weighs ?? []).length > 0;

// desk: the page's state (see study.js). Whether the lead has settled the frame on the screen.
export const settled = (desk) => weighed(desk.reading.current);

// The next frame of the study that waits to be settled: [place, frame], or null. left: a Set of what was gone on from.
export function nextDispute(desk, left) {
  for (const [place, image] of desk.study.images.entries()) {
    for (const [frame, {how}] of Object.entries(image.disputes ?? {})) {
      if (how === "disputed" && !left.has(`${image.id}:${frame}`)) return [place, Number(frame)];
    }
  }
  return null;
}

export const firstDispute = (study) => {
  const place = study.images.findIndex((image) => Object.keys(image.disputes ?? {}).length > 0);
  return place < 0 ? [0, 0] : [place, Number(Object.keys(study.images[place].disputes)[0])];
};

// Take one reading over as it stands.
export function takeOver(desk, place) {
  const one = laid(desk.reading)[place];
  if (!one) return false;
  desk.reading.act({states: {...one.states}, regions: one.regions, comment: ""});
  return true;
}

// For each key that takes a reading over: what it does. accept: called with the reading's place.
export const takingOver = (accept) =>
  KEYS.map((key, place) => ({keys: [key], word: `key_take_${LETTERS[place].toLowerCase()}`, does: () => accept(place)}));

// The regions of all readings, each with its letter, so that colour is not all that tells them apart.
export function regionsBeside(desk) {
  if (!adjudicates || desk.loading || !desk.reading) return [];
  return laid(desk.reading).flatMap(({regions, letter}, place) =>
    regions.map((region) => ({...region, style: `beside_${place % 4}`, label: `${letter}: ${desk.meaning(region.finding)}`})));
}

export function drawReadings(desk, accept) {
  const readings = adjudicates ? laid(desk.reading) : [];
  byId("readings").hidden = !adjudicates;
  if (!adjudicates) return;
  const {differ = []} = desk.reading.image.disputes?.[desk.reading.frame] ?? {};
  const name = (one) => (one.name ? `${one.letter}: ${one.name}` : t("reader_letter", {letter: one.letter}));
  const keys = [...new Set([...desk.findings.map(({key}) => key), ...readings.flatMap(({states}) => Object.keys(states))])];
  const rows = keys.map((key) => el("tr", {class: differ.includes(key) ? "differs" : undefined},
    el("th", {scope: "row"}, desk.meaning(key), differ.includes(key) ? el("span", {class: "apart"}, ` ${t("differs")}`) : ""),
    ...readings.map(({states}) => el("td", {}, t(states[key] ?? "not_assessed")))));
  const marked = el("tr", {}, el("th", {scope: "row"}, t("regions")),
    ...readings.map(({regions}, place) => el("td", {},
      regions.length ? el("span", {class: `line beside_${place % 4}`, "aria-hidden": "true"}) : "", ` ${regions.length}`)));
  const words = readings.some(({comment}) => comment)
    ? [el("tr", {}, el("th", {scope: "row"}, t("comment")), ...readings.map(({comment}) => el("td", {}, comment)))] : [];
  const take = readings.map((one, place) => el("td", {}, el("button",
    {type: "button", class: "take", "aria-keyshortcuts": KEYS[place], onclick: () => accept(place)},
    t("take_over", {letter: one.letter}), KEYS[place] ? el("kbd", {"aria-hidden": "true"}, KEYS[place]) : "")));
  byId("readings-table").replaceChildren(
    el("thead", {}, el("tr", {}, el("th", {scope: "col"}, t("finding")), ...readings.map((one) => el("th", {scope: "col"}, name(one))))),
    el("tbody", {}, ...rows, marked, ...words, el("tr", {}, el("th", {scope: "row"}, t("settle")), ...take)));
  const how = settled(desk) ? "settled_by_you" : readings.length ? "settle_how" : "not_disputed";
  byId("readings-note").textContent = t(how);
}
