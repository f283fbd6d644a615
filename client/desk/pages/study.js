// The page of one study: what is on the screen, and what each key and button does.

import {adjudicates, drawReadings, firstDispute, nextDispute, regionsBeside, settled, takeOver, takingOver} from "./adjudicating.js";
import {beside} from "./beside.js";
import {button, byId, el} from "./dom.js";
import {regionEditing} from "./editing.js";
import {spent} from "./effort.js";
import {heating} from "./heat.js";
import {ahead, frame as fetchFrame, study as fetchStudy} from "./images.js";
import {listen} from "./keys.js";
import {hangsMirrored, orientationMarks} from "./marks.js";
import {regionPainter} from "./overlay.js";
import {drawPanel, drawStrip} from "./panel.js";
import {Reading} from "./reading.js";
import {say, startShell} from "./shell.js";
import {called, inOrder, otherSide} from "./sides.js";
import {steps, walking} from "./stack.js";
import {gestures, Viewer} from "./viewer.js";
import {t} from "./words.js";

const query = new URLSearchParams(location.search);
const desk = {study: null, findings: [], place: 0, steps: [], finding: 0, chosen: -1, reading: null, loading: false};
const drafts = () => `medquorum-draft:${desk.reading.image.id}${desk.reading.frame ? `/${desk.reading.frame}` : ""}`;
const read = (image) => Object.values(image.lines).some(({at}) => at > 0);
const left = new Set(); // images and studies that the reader has gone on from
let opened = "";

const current = new Viewer(document.querySelector("#current .canvases"), readouts);
const other = new Viewer(document.querySelector("#beside .canvases"));
const editing = regionEditing(desk, current, redraw);
const heat = heating(desk, current);
const second = beside(desk, current, other);
const walk = walking(desk);

function listQuery() {
  const asked = new URLSearchParams();
  for (const name of ["order", "show", "find", "from", "disputes"]) if (query.get(name)) asked.set(name, query.get(name));
  return asked;
}

// Where the node tells of a study; reveal: with what is withheld until the reader asks for it.
function studyPath(id, reveal = false) {
  const asked = listQuery();
  if (byId("first").checked) asked.set("first", "1");
  if (adjudicates && byId("names").checked) asked.set("names", "1");
  if (reveal) asked.set("reveal", "1");
  return `/api/${adjudicates ? "adjudication" : "study"}/${id}?${asked}`;
}

Object.assign(desk, {
  meaning: (key) => called(desk.study.release, key),
  draft: (said) => localStorage.getItem(drafts()) ?? said,
  state(key, state) {
    walk.stop();
    editing.settle();
    desk.finding = desk.findings.findIndex((one) => one.key === key);
    desk.reading.state({[key]: state});
    desk.chosen = -1;
    keepDraft();
    redraw();
  },
  choose(place) {
    editing.settle();
    desk.chosen = place;
    redraw();
  },
  async reveal() {
    const {image: {withheld}, frame} = desk.reading;
    if (withheld && withheld !== "held_out") await open(desk.study.study, desk.place, frame, true);
  },
  // Within a stack the image before stays on the screen until the next is there, seen as it was seen.
  async openImage(place, frame = 0) {
    editing.settle();
    const image = desk.study.images[place];
    const within = desk.reading !== null && desk.study.images.includes(desk.reading.image) && desk.reading.image.stack === image.stack;
    [desk.place, desk.chosen, desk.loading] = [place, -1, true];
    const before = desk.findings[desk.finding]?.key;
    desk.findings = inOrder(desk.study.release?.findings ?? [], image.asked);
    desk.finding = Math.max(0, desk.findings.findIndex(({key}) => key === before));
    const reading = new Reading(image, frame, image.not_asked ? [] : desk.findings, spent);
    desk.reading = reading;
    heat.forget();
    byId("caption").textContent = [image.view, image.laterality, image.body_part, image.source].filter(Boolean).join(" · ");
    if (!within) {
      desk.steps = steps(desk.study.images, place);
      current.show(null);
    }
    second.draw();
    drawStrip(desk);
    redraw();
    try {
      const found = await fetchFrame(image.id, frame);
      if (desk.reading !== reading) return;
      desk.loading = false;
      current.show(found, {keep: within, mirrored: hangsMirrored(image, found.orientation)});
      walk.arrived(found);
    } catch (fault) {
      if (desk.reading === reading) current.show(null);
      say(fault.message, "fault");
    }
    heat.refresh();
  },
});

async function open(id, place = null, frame = 0, reveal = false) {
  editing.settle();
  keepDraft();
  const found = await fetchStudy(studyPath(id, reveal));
  for (const gone of left) if (gone === id || found.images.some((image) => gone.startsWith(image.id))) left.delete(gone);
  desk.study = found;
  [desk.findings, desk.finding] = [[], 0];
  const name = opened && found.release && opened !== found.release.hash ? t("release_changed") : "";
  opened = found.release?.hash ?? "";
  say(found.release ? name : t("no_release"), name ? "warning" : "note");
  byId("patient").textContent = [found.name, found.patient].filter(Boolean).join(" · ") || t("patient");
  document.title = `${found.patient || t("patient")} · medquorum`;
  byId("made").textContent = found.images[0].acquired;
  query.set("s", id);
  byId("back").href = `/${adjudicates ? "adjudication" : ""}?${listQuery()}`;
  history.replaceState(null, "", `/study?${query}`);
  const first = adjudicates ? firstDispute(found) : nextUnread() ?? [0, 0];
  await desk.openImage(...(place === null ? first : [place, frame]));
  if (found.after) ahead(studyPath(found.after));
}

function redraw() {
  drawPanel(desk);
  drawReadings(desk, take);
  current.draw();
}

function readouts(viewer) {
  const stated = viewer.stated;
  if (!stated || document.activeElement?.closest("#numbers")) return;
  byId("center").value = Number(stated.center.toPrecision(7));
  byId("width").value = Number(stated.width.toPrecision(7));
}

function keepDraft() {
  if (!desk.reading) return;
  const [key, box] = [drafts(), byId("comment")];
  const draft = localStorage.getItem(key);
  if (draft === null || !desk.reading.current) return;
  localStorage.removeItem(key);
  if (draft.trim() !== desk.reading.current.comment) desk.reading.comment(draft.trim());
  if (document.activeElement !== box) box.value = draft;
}

async function go(id) {
  if (!id) return say(t("list_done"), "note");
  try {
    await open(id);
  } catch (fault) {
    say(t("cannot_open", {why: fault.message}), "warning");
  }
}

// The next image of the study that is asked for and not read, or to be looked at again: [place, frame], or null.
function nextUnread() {
  const wanted = (image) => !image.not_asked && (image.again.length > 0 || !read(image)) && !left.has(image.id);
  const place = desk.study.images.findIndex(wanted);
  return place < 0 ? null : [place, desk.study.images[place].again[0] ?? 0];
}

// What is next in this study; then the next study.
async function onward() {
  const {image, frame} = desk.reading;
  left.add(image.id).add(`${image.id}:${frame}`);
  const next = adjudicates ? nextDispute(desk, left) : nextUnread();
  if (next) return desk.openImage(...next);
  left.add(desk.study.study);
  let {after} = desk.study;
  // What was fetched ahead may date from before an earlier study of this window was stored as read.
  if (left.has(after)) after = await fetchStudy(studyPath(desk.study.study)).then((now) => now.after, () => null);
  if (left.has(after)) after = null;
  return go(after);
}

async function acceptAndNext() {
  walk.stop();
  editing.settle();
  const {reading} = desk;
  if (!reading.accept()) return say(t("state_first"), "warning");
  if (reading.others.length && !settled(desk)) reading.act({});
  else if (reading.again) reading.confirm();
  keepDraft();
  await onward();
}

async function take(place) {
  editing.settle();
  if (takeOver(desk, place)) await onward();
}

function restate(how) {
  editing.settle();
  if (!desk.reading[how]()) return;
  localStorage.removeItem(drafts());
  desk.chosen = -1;
  redraw();
}

const stateChosen = (state) => () => desk.findings.length && desk.reading.findings.length && desk.state(desk.findings[desk.finding].key, state);

function pick(step) {
  if (!desk.findings.length) return;
  desk.finding = (desk.finding + step + desk.findings.length) % desk.findings.length;
  redraw();
  heat.refresh();
}

function preset(place) {
  const chosen = current.frame?.presets[place];
  if (chosen) current.setWindow(chosen.center, chosen.width);
}

// The first image of the next or previous stack of the study.
function nextImage(step) {
  const firsts = desk.study.images.flatMap(({stack}, at, all) => (all.findIndex((one) => one.stack === stack) === at ? [at] : []));
  const here = firsts.findLastIndex((at) => desk.study.images[at].stack === desk.study.images[desk.place].stack);
  return desk.openImage(firsts[(here + step + firsts.length) % firsts.length]);
}

const press = (id) => () => byId(id).click();
const BESIDE = adjudicates ? [...takingOver(take), {keys: ["Shift+b"], word: "key_draw", does: press("draw")}] : [];
const COMMANDS = [
  ...BESIDE,
  {keys: ["Enter"], word: "key_accept", does: acceptAndNext, always: true},
  {keys: ["y"], word: "key_present", does: stateChosen("present")},
  {keys: ["n"], word: "key_absent", does: stateChosen("absent")},
  {keys: ["u"], word: "key_uncertain", does: stateChosen("uncertain")},
  {keys: ["x"], word: "key_not_assessed", does: stateChosen("not_assessed")},
  {keys: ["a"], word: "key_rest_absent", does: () => restAbsent()},
  {keys: ["d"], word: "key_set_aside", does: () => setAside()},
  {keys: ["ArrowDown", "j"], word: "key_next_finding", does: editing.arrow(0, 1, () => pick(1)), always: true},
  {keys: ["ArrowUp", "k"], word: "key_previous_finding", does: editing.arrow(0, -1, () => pick(-1)), always: true},
  {keys: ["Shift+s"], word: "key_other_side", does: () => pick(otherSide(desk.findings, desk.finding) - desk.finding)},
  {keys: ["z", "Ctrl+z"], word: "key_undo", does: () => restate("undo"), always: true},
  {keys: ["Shift+z", "Ctrl+Shift+z", "Ctrl+y"], word: "key_redo", does: () => restate("redo"), always: true},
  {keys: ["PageDown", "."], word: "key_next_study", does: () => go(desk.study.after), always: true},
  {keys: ["PageUp", ","], word: "key_previous_study", does: () => go(desk.study.before), always: true},
  {keys: ["]"], word: "key_next_image", does: () => nextImage(1)},
  {keys: ["["], word: "key_previous_image", does: () => nextImage(-1)},
  {keys: ["b"], word: "key_draw", does: press("draw")},
  {keys: ["r"], word: "key_new_region", does: editing.boxInTheMiddle},
  {keys: ["s"], word: "key_choose_region", does: editing.chooseNext},
  {keys: ["ArrowLeft"], word: "key_previous_frame", does: editing.arrow(-1, 0, () => walk.step(-1)), always: true},
  {keys: ["ArrowRight"], word: "key_next_frame", does: editing.arrow(1, 0, () => walk.step(1)), always: true},
  {keys: ["Home"], word: "key_first_frame", does: () => walk.walk(0), always: true},
  {keys: ["End"], word: "key_last_frame", does: () => walk.walk(desk.steps.length - 1), always: true},
  {keys: ["m"], word: "key_play", does: press("play")},
  {keys: ["Shift+ArrowLeft"], word: "key_resize_region", does: editing.resize(-1, 0), always: true},
  {keys: ["Shift+ArrowRight"], word: "key_resize_region", does: editing.resize(1, 0), always: true},
  {keys: ["Shift+ArrowUp"], word: "key_resize_region", does: editing.resize(0, -1), always: true},
  {keys: ["Shift+ArrowDown"], word: "key_resize_region", does: editing.resize(0, 1), always: true},
  {keys: ["Delete", "Backspace"], word: "key_delete_region", does: editing.remove, always: true},
  {keys: ["Escape"], word: "key_let_go", does: () => (editing.drawing(false), desk.choose(-1)), always: true},
  {keys: ["h"], word: "key_heatmap", does: press("heat")},
  {keys: ["<"], word: "key_fainter", does: () => heat.fade(-0.1)},
  {keys: [">"], word: "key_stronger", does: () => heat.fade(0.1)},
  {keys: ["p"], word: "key_reveal", does: () => desk.reveal()},
  {keys: ["q"], word: "key_first_read", does: press("first")},
  {keys: ["0"], word: "key_window_stated", does: () => current.resetWindow()},
  ...[1, 2, 3, 4].map((number) => ({keys: [String(number)], word: `key_preset_${number}`, does: () => preset(number - 1)})),
  {keys: ["w"], word: "key_window", does: () => byId("center").focus()},
  {keys: ["i"], word: "key_invert", does: () => current.invert()},
  {keys: ["f"], word: "key_fit", does: () => current.fit()},
  {keys: ["Shift+f"], word: "key_mirror", does: () => current.mirror()},
  {keys: ["o"], word: "key_one_to_one", does: () => current.oneToOne()},
  {keys: ["+", "="], word: "key_zoom_in", does: () => current.zoomTo(current.view.zoom * 1.25)},
  {keys: ["-"], word: "key_zoom_out", does: () => current.zoomTo(current.view.zoom / 1.25)},
  {keys: ["Alt+ArrowLeft"], word: "key_pan", does: () => current.pan(60, 0), always: true},
  {keys: ["Alt+ArrowRight"], word: "key_pan", does: () => current.pan(-60, 0), always: true},
  {keys: ["Alt+ArrowUp"], word: "key_pan", does: () => current.pan(0, 60), always: true},
  {keys: ["Alt+ArrowDown"], word: "key_pan", does: () => current.pan(0, -60), always: true},
  {keys: ["c"], word: "key_compare", does: second.prior},
  {keys: ["v"], word: "key_views", does: second.view},
  {keys: ["g"], word: "key_link", does: second.link},
  {keys: ["t"], word: "key_comment", does: () => byId("comment").focus()},
  {keys: ["l"], word: "key_worklist", does: press("back")},
].filter((one) => BESIDE.includes(one) || !BESIDE.some(({keys}) => one.keys.includes(keys[0])));

function restAbsent() {
  const open = desk.reading.findings.filter(({key}) => desk.reading.stateOf(key) === "not_assessed");
  if (open.length) desk.reading.state(Object.fromEntries(open.map(({key}) => [key, "absent"])));
  redraw();
}

async function setAside() {
  if (!desk.reading.findings.length) return onward();
  desk.reading.state(Object.fromEntries(desk.findings.map(({key}) => [key, "not_assessed"])));
  keepDraft();
  await onward();
}

function tools() {
  const number = (id, word) => [el("label", {for: id}, t(word)), el("input", {id, type: "number", step: "any", onchange: setNumbers})];
  byId("tools").replaceChildren(
    el("span", {id: "numbers"}, ...number("center", "center"), ...number("width", "width")),
    button(t("stated"), "0", () => current.resetWindow()),
    button(t("fit"), "f", () => current.fit()),
    button(t("one_to_one"), "o", () => current.oneToOne()),
    button(t("invert"), "i", () => current.invert()),
    button(t("draw"), adjudicates ? "Shift+b" : "b", () => editing.drawing(!editing.drawingNow()), {id: "draw", "aria-pressed": "false"}),
    button(t("heatmap"), "h", heat.toggle, {id: "heat", "aria-pressed": "false"}),
    heat.slider(),
    button(t("compare"), "c", second.prior, {id: "prior", "aria-pressed": "false"}),
    button(t("views"), "v", second.view, {id: "side", "aria-pressed": "false"}),
    button(t("link"), "g", second.link, {id: "link", "aria-pressed": "false"}),
  );
}

function setNumbers() {
  current.setWindow(Number(byId("center").value), Number(byId("width").value));
}

function stored(action, answer, here) {
  const images = desk.study?.images ?? [];
  const image = images.find((one) => one.id === action.instance);
  if (image) {
    image.lines[answer.frame] = {said: answer.said, at: answer.at, last: answer.last};
    if (desk.reading.image === image && desk.reading.frame === answer.frame) {
      desk.reading.settle(answer);
      if (!editing.busy()) redraw();
      if (!here) say(t("other_window"), "warning");
    }
  }
  if (here && answer.meanwhile) say(t("meanwhile", {time: new Date(answer.meanwhile.at_time).toLocaleTimeString()}), "warning");
  else if (here && answer.unweighed) say(t("unweighed"), "warning");
  else if (here && opened && answer.release !== opened) say(t("release_changed"), "warning");
}

async function start() {
  const known = await startShell(() => {
    tools();
    if (desk.study) open(desk.study.study, desk.place, desk.reading.frame);
  }, stored);
  if (!known) return;
  if (adjudicates) byId("back").firstElementChild.textContent = t(byId("back").firstElementChild.dataset.w = "adjudication");
  byId("first").closest("p").hidden = adjudicates;
  byId("first").checked = localStorage.getItem("medquorum-first") === "1";
  tools();
  current.painters.push(regionPainter(() => regionsBeside(desk), () => -1), regionPainter(editing.shown, () => desk.chosen));
  for (const viewer of [current, other]) viewer.painters.push(orientationMarks(viewer.host));
  gestures(current, editing.takeDrag, walk.wheel);
  gestures(other);
  byId("accept").addEventListener("click", acceptAndNext);
  byId("undo").addEventListener("click", () => restate("undo"));
  byId("redo").addEventListener("click", () => restate("redo"));
  byId("first").addEventListener("change", () => {
    localStorage.setItem("medquorum-first", byId("first").checked ? "1" : "0");
    open(desk.study.study, desk.place, desk.reading.frame);
  });
  byId("names").addEventListener("change", () => open(desk.study.study, desk.place, desk.reading.frame));
  byId("comment").addEventListener("input", () => localStorage.setItem(drafts(), byId("comment").value));
  byId("comment").addEventListener("blur", () => {
    keepDraft();
    redraw();
  });
  listen(COMMANDS);
  try {
    await open(query.get("s") ?? "");
  } catch (fault) {
    say(fault.message, "fault");
  }
}

start();
