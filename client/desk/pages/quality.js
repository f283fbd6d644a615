// How good the labels are, for leads: agreement, each reader's work, the hidden share, drift, and labels to read again.

import {byId, el} from "./dom.js";
import {agreementFigures, driftFigures, hiddenFigures, readerFigures, table} from "./figures.js";
import {listen} from "./keys.js";
import {get, post} from "./net.js";
import {needsLead, say, startShell} from "./shell.js";
import {called} from "./sides.js";
import {t} from "./words.js";

const AGAIN = 1000; // milliseconds between questions while figures are computed
let found = {running: false, fault: "", report: null};
let sent = {all: 0, open: 0, rows: []};
let sought = [];
let release = null;
let chosen = 0;
let timer = 0;

const meaning = (key) => called(release, key);
const studyOf = (one) => (one.study ? el("a", {href: `/study?s=${one.study}&show=all`}, one.patient || one.study.slice(0, 8)) : t("gone"));
const moment = (text) => new Date(text).toLocaleString();

function draw() {
  document.title = `${t("quality")} · medquorum`;
  const {report, running, fault} = found;
  byId("compute").disabled = running;
  const state = running ? "computing" : fault ? "not_computed" : report ? "computed_at" : "not_computed_yet";
  byId("computed").textContent = t(state, {time: report ? moment(report.at) : "", why: fault});
  byId("lacks").replaceChildren(...(report?.lacks ?? []).map((lack) => el("li", {}, t(`lacks_${lack}`))));
  drawSent();
  if (!report) return;
  drawSuspects(report);
  byId("agreement").replaceChildren(...report.findings.flatMap((one) => agreementFigures(one, meaning(one.finding))));
  byId("by-reader").replaceChildren(...readerFigures(report.readers, meaning));
  byId("hidden-share").replaceChildren(...hiddenFigures(report.hidden, meaning));
  byId("drift").replaceChildren(...driftFigures(report.drift));
}

function drawSuspects({suspects, suspected}) {
  const rows = suspects.map((one, place) => {
    const back = el("button", {type: "button", disabled: one.sent, onclick: () => sendBack(place)}, t(one.sent ? "is_sent_back" : "send_back"));
    const cells = [
      studyOf(one),
      meaning(one.finding), one.reader, t(one.state), `${(100 * one.probability).toFixed(0)} %`, back,
    ];
    return {cells, current: place === chosen};
  });
  const heads = ["patient", "finding", "said_by", "says", "model_gives", "send_back"];
  byId("suspects").replaceChildren(
    el("p", {}, t("suspects_count", {count: suspected, shown: suspects.length})),
    ...(rows.length ? [table(heads.map((key) => t(key)), rows)] : []));
}

function drawSent() {
  byId("sought").replaceChildren(...(sought.length ? [table([t("patient"), t("made"), t("send_back")], sought.map((row) => ({cells: [
    row.patient, row.acquired,
    el("button", {type: "button", onclick: () => ask({study: row.study, whom: "", why: "other"})}, t("send_back_anybody")),
  ]})))] : []));
  const rows = sent.rows.map((one) => ({cells: [
    studyOf(one),
    moment(one.at), one.by, one.whom || t("anybody"), t(`why_${one.why}`), t(`outcome_${one.outcome}`),
  ]}));
  const heads = ["patient", "sent_at", "sent_by", "whom", "why", "outcome"];
  byId("sent").replaceChildren(el("p", {}, t("sent_count", {count: sent.all, open: sent.open})),
    ...(rows.length ? [table(heads.map((key) => t(key)), rows)] : []));
}

async function ask(doubt) {
  try {
    await post("/api/send-back", doubt);
    sent = await get("/api/send-back");
    say(t("sent_back_now"));
    return true;
  } catch (fault) {
    needsLead(fault);
    return false;
  } finally {
    draw();
  }
}

async function sendBack(place) {
  const one = found.report?.suspects[place];
  if (!one || one.sent) return;
  if (await ask({instance: one.instance, frame: one.frame, whom: one.reader, why: "suspect"})) one.sent = true;
  chosen = Math.min(place + 1, found.report.suspects.length - 1);
  draw();
}

async function load(anew = false) {
  clearTimeout(timer);
  try {
    found = anew ? await post("/api/quality", {}) : await get("/api/quality");
    sent = await get("/api/send-back");
  } catch (fault) {
    return needsLead(fault);
  }
  draw();
  document.body.dataset.computed = String(!found.running);
  if (found.running) timer = setTimeout(load, AGAIN);
}

async function seek() {
  const find = byId("find").value.trim();
  const query = new URLSearchParams({show: "all", order: "arrival", find, limit: 10});
  sought = find ? (await get(`/api/worklist?${query}`)).rows : [];
  drawSent();
}

function move(step) {
  const many = found.report?.suspects.length ?? 0;
  chosen = Math.min(Math.max(0, many - 1), Math.max(0, chosen + step));
  draw();
  byId("suspects").querySelector("[aria-current]")?.scrollIntoView({block: "nearest"});
}

const COMMANDS = [
  {keys: ["ArrowDown", "j"], word: "key_next_suspect", does: () => move(1), always: true},
  {keys: ["ArrowUp", "k"], word: "key_previous_suspect", does: () => move(-1), always: true},
  {keys: ["s"], word: "key_send_back", does: () => sendBack(chosen)},
  {keys: ["r"], word: "key_compute", does: () => byId("compute").click()},
  {keys: ["/"], word: "key_find", does: () => byId("find").focus()},
  {keys: ["l"], word: "key_worklist", does: () => (location.href = "/")},
];

async function start() {
  const known = await startShell(draw, () => {});
  if (!known) return;
  release = known.release;
  draw();
  await load();
  let waiting = 0;
  byId("seek").addEventListener("submit", (event) => event.preventDefault());
  byId("find").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => seek().catch(needsLead), 200);
  });
  byId("compute").addEventListener("click", () => load(true));
  listen(COMMANDS);
  document.body.dataset.ready = "true";
}

start();
