// One table of words for each language. The reader's choice is kept in the browser.

let table = {};
let language = "en";

export async function loadWords() {
  table = await (await fetch("/static/words.json")).json();
  const kept = localStorage.getItem("medquorum-language");
  setLanguage(table[kept] ? kept : navigator.language.startsWith("zh") ? "zh" : "en");
}

export const languages = () => Object.keys(table);
export const currentLanguage = () => language;

export function setLanguage(chosen) {
  language = chosen;
  localStorage.setItem("medquorum-language", chosen);
  document.documentElement.lang = chosen === "zh" ? "zh-Hans" : chosen;
  for (const one of document.querySelectorAll("[data-w]")) one.textContent = t(one.dataset.w);
  for (const one of document.querySelectorAll("[data-w-label]")) one.setAttribute("aria-label", t(one.dataset.wLabel));
}

// The word for a key, with {name} replaced.
export function t(key, values = {}) {
  const word = table[language]?.[key] ?? key;
  return word.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}
