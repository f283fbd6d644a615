// What was not taken in, and why. The reasons are the gate's own, in its language.

import {byId, el} from "./dom.js";
import {get} from "./net.js";
import {say, startShell} from "./shell.js";
import {t} from "./words.js";

let found = {all: 0, rows: []};

function draw() {
  document.title = `${t("quarantine")} · medquorum`;
  byId("count").textContent = t("quarantine_count", {count: found.all, shown: found.rows.length});
  byId("rows").replaceChildren(...found.rows.map((row) => el("tr", {lang: "en"},
    ...[row.id, row.source, row.code, row.reason, row.advice].map((text) => el("td", {}, text)))));
}

async function start() {
  if (!await startShell(draw, () => {})) return;
  try {
    found = await get("/api/quarantine");
  } catch (fault) {
    say(fault.message, "fault");
  }
  draw();
  document.body.dataset.ready = "true";
}

start();
