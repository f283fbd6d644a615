// The worklist: only the rows on the screen are asked for and drawn, however long the list is.

import {byId, el} from "./dom.js";
import {listen} from "./keys.js";
import {get, post} from "./net.js";
import {say, startShell} from "./shell.js";
import {named} from "./sides.js";
import {t} from "./words.js";

const ROW = 34; // pixels, as in desk.css
const PAGE = 60;
const ORDERS = ["uncertainty", "disagreement", "urgency", "random", "arrival"];
const FILTERS = ["open", "turn", "all", "unread", "begun", "read", "again", "second", "accepted", "not_asked"];

let found = {all: 0, shown: 0, rows: [], offset: 0, selection: "everybody", waiting: 0};
let chosen = 0;
let release = null;
let rule = "";
let asked = 0;

function query() {
  const form = new FormData(byId("query"));
  return new URLSearchParams([...form].filter(([, value]) => value !== "" && value !== "0"));
}

async function load(offset) {
  const number = ++asked;
  const start = Math.max(0, offset);
  try {
    const answer = await get(`/api/worklist?${query()}&offset=${start}&limit=${PAGE}`);
    if (number !== asked) return;
    found = answer;
    draw();
    performance.mark("rows");
  } catch (fault) {
    say(fault.message, "fault");
  }
}

function score(value, hidden) {
  return hidden ? t("hidden") : value === null ? "" : value.toFixed(2);
}

function draw() {
  document.title = `${t("worklist")} · medquorum`;
  byId("count").textContent = t("count", {shown: found.shown, all: found.all});
  const seconds = byId("show").value === "second" ? `${t(rule === "two" ? "second_how" : "second_no_rule")} ` : "";
  byId("rule").textContent = `${seconds}${t(`rule_${found.selection}`, {waiting: found.waiting})}`;
  byId("release").textContent = release
    ? t("release_line", {release: release.hash.slice(0, 12), findings: release.findings.map(named).join("; ")})
    : t("no_release");
  byId("above").style.height = `${found.offset * ROW}px`;
  byId("below").style.height = `${Math.max(0, found.shown - found.offset - found.rows.length) * ROW}px`;
  byId("rows").replaceChildren(...found.rows.map((row, place) => {
    const at = found.offset + place;
    const link = el("a", {href: `/study?s=${row.study}&${query()}`}, row.patient || row.study.slice(0, 8));
    return el("tr", {"aria-current": at === chosen ? "true" : undefined, "data-study": row.study},
      el("td", {}, link), el("td", {}, row.acquired), el("td", {}, row.modality),
      el("td", {}, [row.body_part, row.view].filter(Boolean).join(" ")), el("td", {}, String(row.images.length)),
      el("td", {class: `status ${row.again ? "again" : row.status}`}, t(`status_${row.again ? "again" : row.status}`)),
      el("td", {}, score(row.uncertainty, row.hidden)), el("td", {}, score(row.disagreement, row.hidden)),
      el("td", {}, score(row.urgency, row.hidden)));
  }));
}

function fill() {
  const asked = new URLSearchParams(location.search);
  for (const [id, choices, prefix] of [["order", ORDERS, "order_"], ["show", FILTERS, "status_"]]) {
    const kept = byId(id).value || asked.get(id) || choices[0];
    byId(id).replaceChildren(...choices.map((one) => el("option", {value: one}, t(prefix + one))));
    byId(id).value = kept;
  }
}

function again() {
  chosen = 0;
  byId("scroll").scrollTop = 0;
  history.replaceState(null, "", `/?${query()}`);
  return load(0);
}

async function move(step) {
  chosen = Math.min(Math.max(0, found.shown - 1), Math.max(0, chosen + step));
  const scroll = byId("scroll");
  const [top, bottom] = [chosen * ROW, (chosen + 2) * ROW];
  if (top < scroll.scrollTop) scroll.scrollTop = top;
  else if (bottom > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = bottom - scroll.clientHeight;
  if (chosen < found.offset || chosen >= found.offset + found.rows.length) await load(chosen - PAGE / 2);
  else draw();
}

function openChosen() {
  const row = found.rows[chosen - found.offset];
  if (row) location.href = `/study?s=${row.study}&${query()}`;
}

const COMMANDS = [
  {keys: ["Enter"], word: "key_open", does: openChosen, always: true},
  {keys: ["ArrowDown", "j"], word: "key_down", does: () => move(1), always: true},
  {keys: ["ArrowUp", "k"], word: "key_up", does: () => move(-1), always: true},
  {keys: ["PageDown"], word: "key_page_down", does: () => move(15), always: true},
  {keys: ["PageUp"], word: "key_page_up", does: () => move(-15), always: true},
  {keys: ["Home"], word: "key_home", does: () => move(-found.shown), always: true},
  {keys: ["End"], word: "key_end", does: () => move(found.shown), always: true},
  {keys: ["/"], word: "key_find", does: () => byId("find").focus()},
  {keys: ["o"], word: "key_order", does: () => byId("order").focus()},
];

async function start() {
  const asked = new URLSearchParams(location.search);
  byId("find").value = asked.get("find") ?? "";
  byId("from").value = asked.get("from") ?? "0";
  const first = () => {
    fill();
    draw();
  };
  // What another window, or this browser before it was closed, had to say may change the list.
  const known = await startShell(first, () => load(found.offset));
  if (!known) return;
  [release, rule] = [known.release, known.rule];
  fill();
  await load(0);
  let waiting = 0;
  byId("query").addEventListener("submit", (event) => event.preventDefault());
  byId("query").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(again, 200);
  });
  byId("scroll").addEventListener("scroll", () => {
    const top = Math.floor(byId("scroll").scrollTop / ROW);
    const bottom = top + Math.ceil(byId("scroll").clientHeight / ROW);
    if (top < found.offset || bottom > found.offset + found.rows.length + 1) load(top - 20);
  });
  byId("leave").addEventListener("click", async () => {
    await post("/leave", {});
    location.reload();
  });
  listen(COMMANDS);
  document.body.dataset.ready = "true";
}

start();
