// Elements made without markup: what comes from outside is only ever text.

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children);
  return made;
}

export const byId = (id) => document.getElementById(id);

// A button that a key does as well: the key is shown and told to screen readers.
export function button(label, key, does, attributes = {}) {
  const shown = key ? el("kbd", {"aria-hidden": "true"}, key) : "";
  return el("button", {type: "button", "aria-keyshortcuts": key || undefined, onclick: does, ...attributes}, label, shown);
}
