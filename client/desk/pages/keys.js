// Hotkeys: one table, from which the help is made as well.

import {byId, el} from "./dom.js";
import {t} from "./words.js";

const KEPT = "medquorum-keys"; // "off": this browser's readers want no single keys
const SLIDES = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"];

const enabled = () => localStorage.getItem(KEPT) !== "off";

// Listen for a page's commands, and show them for "?" or at the page's button.
// commands: [{keys: ["Enter"], word, does, always}]. A key is written as KeyboardEvent.key, with Ctrl+, Alt+ or Shift+
// before it where those count. always: also where single keys are switched off.
export function listen(commands) {
  const help = () => showHelp(byId("help"), all);
  const all = [...commands, {keys: ["?"], word: "key_help", does: help, always: true}];
  byId("help-button").addEventListener("click", help);
  addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const typing = event.target.closest("input:not([type=range]), textarea, select");
    const name = keyName(event);
    if (event.target.matches("input[type=range]") && SLIDES.includes(name)) return;
    if (typing) {
      if (name === "Escape") event.target.blur();
      if (!name.startsWith("Ctrl+") || event.target.matches("textarea, input[type=search], input[type=text]")) return;
    }
    const modal = document.querySelector("dialog[open]");
    if (modal && name !== "?") return;
    if ((name === "Enter" || name === " ") && event.target.closest("button, a, summary")) return;
    const found = all.find(({keys}) => keys.includes(name));
    if (!found || (!found.always && !enabled())) return;
    event.preventDefault();
    found.does(event);
  });
}

function keyName(event) {
  const single = event.key.length === 1;
  const key = single ? event.key.toLowerCase() : event.key;
  const shift = event.shiftKey && (!single || /[a-z]/.test(key));
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${event.altKey ? "Alt+" : ""}${shift ? "Shift+" : ""}${key}`;
}

// Fill the help overlay and show it.
function showHelp(dialog, commands) {
  const words = new Map();
  for (const {keys, word} of commands) words.set(word, [...(words.get(word) ?? []), ...keys]);
  const rows = [...words].map(([word, keys]) => {
    const shown = keys.flatMap((key) => [el("kbd", {}, key.replace("Arrow", "")), " "]);
    return el("tr", {}, el("th", {scope: "row"}, ...shown), el("td", {}, t(word)));
  });
  const box = el("input", {type: "checkbox", id: "single-keys"});
  box.checked = enabled();
  box.addEventListener("change", () => localStorage.setItem(KEPT, box.checked ? "on" : "off"));
  dialog.replaceChildren(
    el("button", {type: "button", class: "close", onclick: () => dialog.close()}, t("close")),
    el("h2", {id: "help-title"}, t("help_title")),
    el("p", {}, t("help_mouse")),
    el("table", {}, el("tbody", {}, ...rows)),
    el("p", {}, el("label", {for: "single-keys"}, box, " ", t("single_keys"))),
  );
  if (!dialog.open) dialog.showModal();
}
