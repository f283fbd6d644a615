// Actions on their way to the node. Each lies in the browser's storage, under a key of its own, until the node has said
// that it is stored durably: a killed browser or node loses none, and the node knows each by its id.

import {post, Refused} from "./net.js";

const WAITS = "medquorum-waits:";
const REFUSED = "medquorum-refused:";
const PAUSES = [500, 1000, 2000, 5000];

let counter = 0;
let reader = "";
let failures = 0;
let timer = 0;
let fault = null;
let tell = () => {};
let saved = () => {};
// What the node has stored for another window: its word may arrive before the storage follows.
const elsewhere = new Set();
const others = new BroadcastChannel("medquorum-desk");
others.onmessage = ({data}) => {
  elsewhere.add(data.action.id);
  fault = null;
  saved(data.action, data.answer, false);
  report();
};
// Another window sends what it has said itself; what still waits a second later, it was closed upon.
addEventListener("storage", () => {
  report();
  clearTimeout(timer);
  timer = setTimeout(send, 1000);
});

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const keys = (prefix) => Object.keys(localStorage).filter((key) => key.startsWith(prefix)).sort();
const mine = () => keys(WAITS).filter((key) => {
  const one = JSON.parse(localStorage.getItem(key));
  return one.reader === reader && !elsewhere.has(one.action.id);
});

// state: {waiting, refused, fault: null | "closed" | "away" | the node's words}
function report() {
  tell({waiting: mine().length, refused: keys(REFUSED).length, fault});
}

// onState hears of every change; onSaved of every action the node has stored, by this window or another.
export function startQueue(who, onState, onSaved) {
  [reader, tell, saved] = [who, onState, onSaved];
  report();
  send();
}

export function push(action) {
  const place = `${String(Date.now()).padStart(15, "0")}-${String(counter++).padStart(6, "0")}`;
  localStorage.setItem(`${WAITS}${place}:${action.id}`, JSON.stringify({reader, action}));
  report();
  send();
}

export const waitingFor = (instance, frame) =>
  mine().map((key) => JSON.parse(localStorage.getItem(key)).action)
    .filter((action) => action.instance === instance && action.frame === frame);

export const refusedActions = () => keys(REFUSED).map((key) => JSON.parse(localStorage.getItem(key)));

export function dropRefused() {
  for (const key of keys(REFUSED)) localStorage.removeItem(key);
  report();
}

// One window sends at a time, oldest first, so that the order in which a reader acted is the order in which it is stored.
function send() {
  clearTimeout(timer);
  navigator.locks.request("medquorum-send", {ifAvailable: true}, async (lock) => {
    if (lock === null) {
      timer = setTimeout(send, 300);
      return;
    }
    for (let [key] = mine(); key; [key] = mine()) {
      const {action} = JSON.parse(localStorage.getItem(key));
      try {
        const answer = await post("/api/say", action);
        [failures, fault] = [0, null];
        localStorage.removeItem(key);
        others.postMessage({action, answer});
        saved(action, answer, true);
        report();
      } catch (found) {
        if (found instanceof Refused && found.status < 500 && found.status !== 401) {
          localStorage.setItem(key.replace(WAITS, REFUSED), JSON.stringify({reader, action, why: found.message}));
          localStorage.removeItem(key);
          fault = null;
          report();
          continue;
        }
        fault = !(found instanceof Refused) ? "away" : found.status === 401 ? "closed" : found.message;
        report();
        timer = setTimeout(send, PAUSES[Math.min(failures++, PAUSES.length - 1)]);
        return;
      }
    }
    fault = null;
    report();
  });
}

addEventListener("online", send);
