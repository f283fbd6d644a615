// What the pages share: words, the language, who reads, whether everything is saved, and what this is not.

import {byId, el} from "./dom.js";
import {about} from "./net.js";
import {dropRefused, refusedActions, startQueue} from "./queue.js";
import {currentLanguage, languages, loadWords, setLanguage, t} from "./words.js";

let state = {waiting: 0, refused: 0, fault: null};
let savedAt = "";
let accounts = false;

export function saveState() {
  const {waiting, fault} = state;
  const line = byId("saved");
  const kind = fault ? "waiting" : waiting ? "saving" : "saved";
  line.dataset.state = kind;
  const over = accounts ? t("session_over_accounts") : t("session_over");
  const why = fault === "away" ? t("away") : fault === "closed" ? over : fault ?? "";
  line.textContent = fault
    ? t("not_saved", {count: waiting, why})
    : waiting ? t("saving", {count: waiting}) : savedAt ? t("saved_at", {time: savedAt}) : t("all_saved");
  if (fault === "closed" && accounts) line.append(" ", el("a", {href: "/login", target: "_blank"}, t("sign_in")));
  const refused = refusedActions();
  byId("refused").hidden = refused.length === 0;
  if (refused.length) {
    const drop = el("button", {type: "button", onclick: dropRefused}, t("drop_refused"));
    byId("refused").replaceChildren(t("refused", {count: refused.length, why: refused.at(-1).why}), " ", drop);
  }
}

// Load words and settings; returns what the node says of itself, or null when it does not answer (said on the page).
// changed: called after another language was chosen; saved: called with every action the node has stored.
export async function startShell(changed, saved) {
  await loadWords();
  const chooser = byId("language");
  for (const one of languages()) chooser.append(el("option", {value: one, lang: one === "zh" ? "zh-Hans" : one}, t(`language_${one}`)));
  chooser.value = currentLanguage();
  let found = null;
  const who = () => {
    if (found) byId("reader").textContent = t("reads_at", {reader: found.reader, site: found.site});
  };
  chooser.addEventListener("change", () => {
    setLanguage(chooser.value);
    saveState();
    who();
    changed();
  });
  try {
    found = await about();
  } catch (fault) {
    say(fault.message, "fault");
    return null;
  }
  who();
  accounts = found.accounts;
  for (const link of document.querySelectorAll(".with-accounts")) link.hidden = !accounts;
  for (const link of document.querySelectorAll(".for-leads")) link.hidden = !found.lead;
  startQueue(found.reader, (next) => {
    state = next;
    saveState();
  }, (action, answer, here) => {
    savedAt = new Date(answer.at_time).toLocaleTimeString();
    saved(action, answer, here);
  });
  return found;
}

// Say what went wrong; to who is no lead, how one becomes one.
export function needsLead(fault) {
  say(fault.status === 403 ? t("lead_only") : fault.message, fault.status === 403 ? "warning" : "fault");
}

// One line for the reader, read out by screen readers; kind: "note", "warning" or "fault".
export function say(text, kind = "note") {
  const line = byId("message");
  line.textContent = text;
  line.dataset.kind = kind;
  line.hidden = !text;
}
