// Frames of a film and slices of a series: walked by wheel, keys and slider, or played. Only what is looked at, and what
// lies just ahead, is fetched.

import {frame} from "./images.js";
import {byId} from "./dom.js";
import {t} from "./words.js";

const AHEAD = 4;
const WHEEL = 60; // pixels of scrolling for one step
const USUAL = 10; // frames a second where the file does not say

// The stack that an image lies in: [place in the study, frame] of each of its steps.
export function steps(images, place) {
  const {frames, stack} = images[place];
  if (frames > 1) return Array.from({length: frames}, (_, number) => [place, number]);
  return images.flatMap((one, at) => (one.stack === stack ? [[at, 0]] : []));
}

// desk: see study.js. The page's bar below the image: which step is shown, a slider, play and speed.
export function walking(desk) {
  let [wanted, busy, plays, scrolled, direction] = [0, null, 0, 0, 1];

  const at = () => desk.steps.findIndex(([place, number]) => place === desk.place && number === desk.reading.frame);

  // One step is fetched and shown at a time; what was passed over meanwhile is never fetched.
  function walk(to) {
    const last = desk.steps.length - 1;
    if (last < 1) return Promise.resolve();
    const next = Math.min(last, Math.max(0, to));
    if (next !== wanted) direction = next > wanted ? 1 : -1;
    wanted = next;
    show();
    if (busy?.of !== desk.steps && wanted === at()) return Promise.resolve();
    if (busy?.of !== desk.steps) busy = {of: desk.steps, done: follow(desk.steps)};
    return busy.done;
  }

  async function follow(of) {
    while (desk.steps === of && wanted !== at()) await desk.openImage(...of[wanted]);
    if (busy?.of === of) busy = null;
    around(of);
  }

  async function around(of) {
    const from = wanted;
    for (let step = 1; step <= AHEAD; step++) {
      const [place, number] = of[from + step * direction] ?? [];
      if (place === undefined || desk.steps !== of || wanted !== from) return;
      await frame(desk.study.images[place].id, number).catch(() => null);
    }
  }

  function show() {
    const many = desk.steps.length;
    byId("stack").hidden = many < 2;
    if (many < 2) return;
    const film = desk.study.images[desk.place].frames > 1;
    const where = t(film ? "frame_of" : "slice_of", {number: wanted + 1, count: many});
    Object.assign(byId("slice"), {max: many, value: wanted + 1});
    byId("slice").setAttribute("aria-valuetext", where);
    byId("slice-number").textContent = where;
  }

  // Called when an image was opened, by walking or otherwise.
  function arrived(found) {
    if (busy?.of === desk.steps) return;
    wanted = Math.max(0, at());
    show();
    if (found?.rate && document.activeElement !== byId("speed")) byId("speed").value = found.rate;
    if (desk.steps.length > 1) around(desk.steps);
  }

  function stop() {
    plays += 1;
    byId("play").setAttribute("aria-pressed", "false");
  }

  async function play() {
    if (byId("play").getAttribute("aria-pressed") === "true") return stop();
    if (desk.steps.length < 2) return;
    const mine = ++plays;
    byId("play").setAttribute("aria-pressed", "true");
    const of = desk.steps;
    while (mine === plays && desk.steps === of) {
      const pause = 1000 / Math.min(60, Math.max(1, Number(byId("speed").value) || USUAL));
      const due = new Promise((done) => setTimeout(done, pause));
      await Promise.all([walk((wanted + 1) % of.length), due]);
    }
    if (mine === plays) stop();
  }

  byId("speed").value = USUAL;
  byId("play").addEventListener("click", play);
  byId("slice").addEventListener("input", () => {
    stop();
    walk(Number(byId("slice").value) - 1);
  });

  return {
    walk, show, arrived, stop, play,
    step: (by) => (stop(), walk(wanted + by)),
    // The wheel walks where there is something to walk through; true when it was taken.
    wheel(event) {
      if (desk.steps.length < 2 || event.ctrlKey) return false;
      stop();
      scrolled += event.deltaMode ? event.deltaY * WHEEL : event.deltaY;
      const by = Math.trunc(scrolled / WHEEL);
      scrolled -= by * WHEEL;
      if (by) walk(wanted + by);
      return true;
    },
  };
}
