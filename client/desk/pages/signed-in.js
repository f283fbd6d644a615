// Back from the hospital's identity provider: what it gave this browser is sent on, and taken out of the address.

import {byId} from "./dom.js";
import {atTheDoor, post, Refused} from "./net.js";
import {loadWords, t} from "./words.js";

async function start() {
  const given = new URLSearchParams(location.search);
  history.replaceState(null, "", "/signed-in");
  await loadWords();
  document.title = `${t("sign_in")} · medquorum`;
  try {
    if (given.has("error")) throw new Error(given.get("error"));
    await atTheDoor();
    const back = {code: given.get("code") ?? "", state: given.get("state") ?? ""};
    await post("/api/provider/finish", given.has("iss") ? {...back, iss: given.get("iss")} : back);
    location.replace("/");
  } catch (fault) {
    const line = byId("message");
    line.textContent = fault instanceof TypeError ? t("away") : t("provider_refused", {why: fault instanceof Refused ? fault.answer.error : fault.message});
    line.dataset.kind = "fault";
    line.hidden = false;
    byId("coming").hidden = true;
    byId("again").hidden = false;
  }
  document.body.dataset.ready = "true";
}

start();
