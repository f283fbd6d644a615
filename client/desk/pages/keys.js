// Hotkeys: one table, from which the help is made as well.

import {el} from "./dom.js";
import {t} from "./words.js";

const SLIDES = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"];

// commands: [{keys: ["Enter"], word, does, always}]. A key is written as KeyboardEvent.key, with Ctrl+, Alt+ or Shift+
// before it where those count. always: also where single keys are switched off.
export function listen(commands, enabled) {
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
    const found = commands.find(({keys}) => keys.includes(name));
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
export function showHelp(dialog, commands, enabled, enable) {
  const words = new Map();
  for (const {keys, word} of commands) words.set(word, [...(words.get(word) ?? []), ...keys]);
  const rows = [...words].map(([word, keys]) => {
    const shown = keys.flatMap((key) => [el("kbd", {}, key.replace("Arrow", "")), " "]);
    return el("tr", {}, el("th", {scope: "row"}, ...shown), el("td", {}, t(word)));
  });
  const box = el("input", {type: "checkbox", id: "single-keys"});
  box.checked = enabled();
  box.addEventListener("change", () => enable(box.checked));
  dialog.replaceChildren(
    el("button", {type: "button", class: "close", onclick: () => dialog.close()}, t("close")),
    el("h2", {id: "help-title"}, t("help_title")),
    el("p", {}, t("help_mouse")),
    el("table", {}, el("tbody", {}, ...rows)),
    el("p", {}, el("label", {for: "single-keys"}, box, " ", t("single_keys"))),
  );
  if (!dialog.open) dialog.showModal();
}
