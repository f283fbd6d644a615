// Signing in. Nothing is known here yet but that this browser got the page from here.

import {byId, el} from "./dom.js";
import {why} from "./faults.js";
import {atTheDoor, post} from "./net.js";
import {currentLanguage, languages, loadWords, setLanguage, t} from "./words.js";

let told = () => "";

function show(words) {
  told = words;
  const line = byId("message");
  line.textContent = told();
  line.dataset.kind = "fault";
  line.hidden = !line.textContent;
}

async function enter(path, body, wrong, rule) {
  show(() => "");
  try {
    await atTheDoor(); // the word of this page may be an hour old
    await post(path, body);
    location.replace("/");
  } catch (fault) {
    show(() => why(fault, wrong, rule));
    for (const one of document.querySelectorAll("input[type=password]")) one.value = "";
  }
}

async function leaveForProvider() {
  show(() => "");
  try {
    await atTheDoor();
    location.href = (await post("/api/provider", {})).to;
  } catch (fault) {
    show(() => fault.message);
  }
}

function on(form, does) {
  byId(form).addEventListener("submit", (event) => {
    event.preventDefault();
    does();
  });
}

async function start() {
  await loadWords();
  const chooser = byId("language");
  for (const one of languages()) chooser.append(el("option", {value: one, lang: one === "zh" ? "zh-Hans" : one}, t(`language_${one}`)));
  chooser.value = currentLanguage();
  const title = () => {
    document.title = `${t("sign_in")} · medquorum`;
    byId("message").textContent = told();
  };
  chooser.addEventListener("change", () => {
    setLanguage(chooser.value);
    title();
  });
  title();
  try {
    const door = await atTheDoor();
    if (door.inside) {
      location.replace("/");
      return;
    }
    for (const one of ["known", "first"]) byId(one).hidden = door.provider;
    byId("provided").hidden = !door.provider;
  } catch (fault) {
    show(() => why(fault));
  }
  on("provided", leaveForProvider);
  on("known", () => enter("/api/sign-in", {name: byId("name").value, password: byId("password").value}, "sign_in_wrong"));
  on("fresh", () => {
    const password = byId("fresh-password").value;
    if (password !== byId("fresh-again").value) {
      show(() => t("password_differs"));
      return;
    }
    enter("/api/enrol", {name: byId("fresh-name").value, code: byId("code").value, password}, "code_wrong", "password_refused");
  });
  document.body.dataset.ready = "true";
}

start();
