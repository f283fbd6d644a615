// What stands beside the image: the patient's last study, or another view of this one. Windows may be linked.

import {frame} from "./images.js";
import {byId} from "./dom.js";
import {hangsMirrored} from "./marks.js";
import {say} from "./shell.js";
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

// current, other: viewers. Modes: "" (nothing beside), "prior", "view".
export function beside(desk, current, other) {
  let [mode, linked, asked] = ["", false, 0];

  const follow = (from, to) => () => {
    if (!linked || !mode || !to.frame) return;
    [to.window, to.inverted] = [from.window && {...from.window}, from.inverted];
    to.level();
  };
  current.windowed = follow(current, other);
  other.windowed = follow(other, current);

  function chosen() {
    const {images, prior} = desk.study;
    if (mode === "view") {
      const place = companion(images, desk.place);
      return place < 0 ? null : {image: images[place], left: hangsLeft(images, place, desk.place), caption: describe(images[place])};
    }
    if (mode !== "prior" || !prior) return null;
    const here = images[desk.place];
    const same = prior.images.find((one) => one.view === here.view && one.laterality === here.laterality) ?? prior.images[0];
    return {image: same, left: true, caption: t("prior_of", {made: prior.acquired || "?"})};
  }

  const describe = (image) => [image.view, image.laterality, image.body_part].filter(Boolean).join(" · ");

  async function draw() {
    const number = ++asked;
    const found = chosen();
    byId("beside").hidden = !found;
    byId("views").classList.toggle("two", Boolean(found));
    byId("views").classList.toggle("swapped", Boolean(found && !found.left));
    byId("link").setAttribute("aria-pressed", String(Boolean(found) && linked));
    const towards = found && mode === "view" ? (found.left ? ["right", "left"] : ["left", "right"]) : ["", ""];
    [other.towards, current.towards] = towards;
    current.resize();
    if (current.fitted) current.fit();
    if (!found) return other.show(null);
    byId("beside-caption").textContent = found.caption;
    other.resize();
    if (other.of !== found.image.id) other.show(null);
    const shown = await frame(found.image.id).catch((fault) => say(fault.message, "warning"));
    if (number !== asked || !shown) return;
    other.of = found.image.id;
    other.show(shown, {mirrored: hangsMirrored(found.image, shown.orientation)});
    current.windowed();
  }

  function toggle(wanted) {
    if (mode !== wanted && wanted === "prior" && !desk.study.prior) return say(t("no_prior"), "note");
    if (mode !== wanted && wanted === "view" && companion(desk.study.images, desk.place) < 0) return say(t("no_other_view"), "note");
    mode = mode === wanted ? "" : wanted;
    linked = mode === "view";
    return draw();
  }

  return {
    draw,
    prior: () => toggle("prior"),
    view: () => toggle("view"),
    link() {
      linked = Boolean(mode) && !linked;
      draw();
    },
  };
}
