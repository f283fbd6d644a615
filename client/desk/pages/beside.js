// What stands beside the image: the patient's last study, or another view of this one. Windows may be linked.

import {frame} from "./images.js";
import {byId} from "./dom.js";
import {hangsMirrored} from "./marks.js";
import {say} from "./shell.js";
import {steps} from "./stack.js";
import {t} from "./words.js";

// The place of the view that belongs beside one: the other side of the same view, else the next view of the study.
export function companion(images, place) {
  const here = images[place];
  const others = images.map((one, at) => [one, at]).filter(([one]) => one.stack !== here.stack);
  const side = {L: "R", R: "L"}[here.laterality];
  const pair = others.find(([one]) => one.view === here.view && side && one.laterality === side);
  const next = others.find(([, at]) => at > place) ?? others[0];
  return (pair ?? next)?.[1] ?? -1;
}

// Whether of two views of a study the first hangs to the left: the patient's right side does, as it is looked at from
// the front; else what comes first in the study.
export function hangsLeft(images, one, other) {
  const sides = [images[one].laterality, images[other].laterality].join("");
  return sides === "RL" || (sides !== "LR" && one < other);
}

// current, other: viewers. Modes: "" (nothing beside), "prior", "view"; until the reader chooses, mammograms hang in pairs.
export function beside(desk, current, other) {
  let [wished, linked, asked, laid] = [null, null, 0, ""];

  const mode = () => wished ?? (desk.study.images[desk.place].modality === "MG" ? "view" : "");
  const together = () => linked ?? mode() === "view";
  const follow = (from, to) => () => {
    if (byId("beside").hidden || !together() || !to.frame) return;
    [to.window, to.inverted] = [from.window && {...from.window}, from.inverted];
    to.level();
  };
  current.windowed = follow(current, other);
  other.windowed = follow(other, current);

  const describe = (image) => [image.view, image.laterality, image.body_part].filter(Boolean).join(" · ");

  // {images, place, left, caption} of what belongs beside the image, or null.
  function chosen() {
    const {images, prior} = desk.study;
    if (mode() === "view") {
      const place = companion(images, desk.place);
      return place < 0 ? null : {images, place, left: hangsLeft(images, place, desk.place), caption: describe(images[place])};
    }
    if (mode() !== "prior" || !prior) return null;
    const here = images[desk.place];
    const same = prior.images.findIndex((one) => one.view === here.view && one.laterality === here.laterality);
    return {images: prior.images, place: Math.max(0, same), left: true, caption: t("prior_of", {made: prior.acquired || "?"})};
  }

  // Of a film or a series, what lies as far along as what is looked at.
  function step({images, place}) {
    const [mine, theirs] = [desk.steps, steps(images, place)];
    const at = mine.findIndex(([one, number]) => one === desk.place && number === desk.reading.frame);
    return theirs[Math.round((Math.max(0, at) / Math.max(1, mine.length - 1)) * (theirs.length - 1))];
  }

  function layOut(found) {
    const towards = !found || mode() !== "view" ? ["", ""] : found.left ? ["right", "left"] : ["left", "right"];
    const pressed = {prior: mode() === "prior", side: mode() === "view", link: together()};
    for (const [id, on] of Object.entries(pressed)) byId(id).setAttribute("aria-pressed", String(Boolean(found) && on));
    byId("beside-caption").textContent = found?.caption ?? "";
    const next = JSON.stringify([Boolean(found), found?.left, towards]);
    if (next === laid) return;
    laid = next;
    byId("beside").hidden = !found;
    byId("views").classList.toggle("two", Boolean(found));
    byId("views").classList.toggle("swapped", Boolean(found && !found.left));
    [other.towards, current.towards] = towards;
    current.resize();
    if (current.fitted) current.fit();
    other.resize();
  }

  async function draw() {
    const number = ++asked;
    const found = chosen();
    layOut(found);
    if (!found) return other.show(null);
    const [place, at] = step(found);
    const image = found.images[place];
    const stack = `${found.images[0].id} ${image.stack}`;
    const keep = other.stack === stack;
    if (!keep) other.show(null);
    const shown = await frame(image.id, at).catch((fault) => say(fault.message, "warning"));
    if (number !== asked || !shown) return;
    other.stack = stack;
    other.show(shown, {keep, mirrored: hangsMirrored(image, shown.orientation)});
    current.windowed();
  }

  function toggle(wanted) {
    const next = mode() === wanted ? "" : wanted;
    if (next === "prior" && !desk.study.prior) return say(t("no_prior"), "note");
    if (next === "view" && companion(desk.study.images, desk.place) < 0) return say(t("no_other_view"), "note");
    [wished, linked] = [next, null];
    return draw();
  }

  return {
    draw,
    prior: () => toggle("prior"),
    view: () => toggle("view"),
    link() {
      linked = !together();
      draw();
    },
  };
}
