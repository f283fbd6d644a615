// The list of studies on which readers disagree, for leads. Each opens with the readings beside each other.

import {byId, el} from "./dom.js";
import {listen} from "./keys.js";
import {get} from "./net.js";
import {needsLead, startShell} from "./shell.js";
import {called} from "./sides.js";
import {t} from "./words.js";

const KINDS = ["disputed", "adjudicated"];
let found = {rule: "two", counts: {}, rows: []};
let release = null;
let chosen = 0;

const address = ({study}) => `/study?s=${study}&adjudicate=1&disputes=${byId("disputes").value}`;

function draw() {
  document.title = `${t("adjudication")} · medquorum`;
  const kept = byId("disputes").value || new URLSearchParams(location.search).get("disputes") || KINDS[0];
  byId("disputes").replaceChildren(...KINDS.map((kind) => el("option", {value: kind}, t(`disputes_${kind}`))));
  byId("disputes").value = KINDS.includes(kept) ? kept : KINDS[0];
  byId("count").textContent = t("disputes_count", {count: found.rows.length});
  byId("rule").textContent = t(found.rule === "two" ? "disputes_rule" : "disputes_no_rule");
  byId("rows").replaceChildren(...found.rows.map((row, place) =>
    el("tr", {"aria-current": place === chosen ? "true" : undefined, "data-study": row.study},
      el("td", {}, el("a", {href: address(row)}, row.patient || row.study.slice(0, 8))), el("td", {}, row.acquired),
      el("td", {}, row.modality), el("td", {}, [row.body_part, row.view].filter(Boolean).join(" ")),
      el("td", {}, String(row.frames)), el("td", {}, String(row.readers)), el("td", {}, row.differ.map((key) => called(release, key)).join("; ")))));
}

async function load() {
  try {
    found = await get(`/api/disputes?disputes=${byId("disputes").value}`);
  } catch (fault) {
    needsLead(fault);
  }
  chosen = Math.min(chosen, Math.max(0, found.rows.length - 1));
  draw();
}

function move(step) {
  chosen = Math.min(Math.max(0, found.rows.length - 1), Math.max(0, chosen + step));
  draw();
  byId("rows").children[chosen]?.scrollIntoView({block: "nearest"});
}

function open() {
  if (found.rows[chosen]) location.href = address(found.rows[chosen]);
}

const COMMANDS = [
  {keys: ["Enter"], word: "key_open", does: open, always: true},
  {keys: ["ArrowDown", "j"], word: "key_down", does: () => move(1), always: true},
  {keys: ["ArrowUp", "k"], word: "key_up", does: () => move(-1), always: true},
  {keys: ["l"], word: "key_worklist", does: () => (location.href = "/")},
];

async function start() {
  const known = await startShell(draw, () => load());
  if (!known) return;
  release = known.release;
  draw();
  await load();
  byId("query").addEventListener("submit", (event) => event.preventDefault());
  byId("disputes").addEventListener("change", () => {
    history.replaceState(null, "", `/adjudication?disputes=${byId("disputes").value}`);
    load();
  });
  listen(COMMANDS);
  document.body.dataset.ready = "true";
}

start();
