// One's own password, and for an admin everybody's account.

import {byId, el} from "./dom.js";
import {why} from "./faults.js";
import {get, post} from "./net.js";
import {say, startShell} from "./shell.js";
import {t} from "./words.js";

const ROLES = ["reader", "lead", "admin"];
let accounts = [];
let me = null;
let given = null;

const when = (seconds) => (seconds === null ? "" : new Date(seconds * 1000).toLocaleString());

async function load() {
  accounts = (await get("/api/accounts")).accounts;
}

async function change(what) {
  say("");
  given = null;
  try {
    const {code} = await post("/api/accounts", what);
    if (code) given = {name: what.name, code};
    await load();
  } catch (fault) {
    say(why(fault), "fault");
  }
  draw();
}

function role(account) {
  const chooser = el("select", {"aria-label": `${t("role")}: ${account.name}`, disabled: account.standing === "provider"},
    ...ROLES.map((one) => el("option", {value: one, selected: one === account.role}, t(`role_${one}`))));
  chooser.addEventListener("change", () => change({do: "role", name: account.name, role: chooser.value}));
  return chooser;
}

function act(account, what) {
  const label = t(`account_${what}`);
  return el("button", {type: "button", "aria-label": `${label}: ${account.name}`, onclick: () => change({do: what, name: account.name})}, label);
}

function does(account) {
  const found = [account.standing === "disabled" ? "enable" : "disable"];
  if (account.standing !== "provider" && account.standing !== "disabled") found.push("code");
  if (account.sessions) found.push("sign_out");
  return found.map((one) => act(account, one));
}

function draw() {
  document.title = `${t("accounts")} · medquorum`;
  byId("role").replaceChildren(...ROLES.map((one) => el("option", {value: one}, t(`role_${one}`))));
  byId("given").hidden = given === null;
  if (given) byId("given").replaceChildren(t("code_given", {name: given.name}), el("output", {}, given.code));
  byId("rows").replaceChildren(...accounts.map((account) => el("tr", {"data-name": account.name},
    el("td", {}, account.name), el("td", {class: "does"}, role(account)),
    el("td", {class: `standing ${account.standing}`}, t(`standing_${account.standing}`)),
    el("td", {}, String(account.sessions)), el("td", {}, when(account.last_in)),
    el("td", {class: "does"}, ...does(account)))));
}

async function changePassword(event) {
  event.preventDefault();
  if (byId("new").value !== byId("again").value) {
    say(t("password_differs"), "fault");
    return;
  }
  try {
    await post("/api/password", {old: byId("old").value, new: byId("new").value});
    say(t("password_changed"));
  } catch (fault) {
    say(why(fault, "password_wrong", "password_refused"), "fault");
  }
  for (const one of ["old", "new", "again"]) byId(one).value = "";
}

async function start() {
  me = await startShell(draw, () => {});
  if (!me) return;
  const admin = me.role === "admin";
  byId("own").hidden = me.provider;
  byId("all").hidden = !admin;
  byId("scroll").hidden = !admin;
  byId("add").hidden = me.provider;
  byId("password-form").addEventListener("submit", changePassword);
  byId("add").addEventListener("submit", (event) => {
    event.preventDefault();
    change({do: "add", name: byId("name").value, role: byId("role").value});
    byId("name").value = "";
  });
  byId("leave").addEventListener("click", async () => {
    await post("/leave", {});
    location.replace("/");
  });
  try {
    if (admin) await load();
  } catch (fault) {
    say(fault.message, "fault");
  }
  draw();
  document.body.dataset.ready = "true";
}

start();
