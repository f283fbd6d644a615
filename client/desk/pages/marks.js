// Letters at a picture's edges: where they lie in the patient, as its file says it. Without a word of the file, none.

import {el} from "./dom.js";

const OPPOSITE = {L: "R", R: "L", A: "P", P: "A", H: "F", F: "H"};
const across = (letters) => [...letters].map((letter) => OPPOSITE[letter]).join("");

// {left, right, top, bottom} of the picture as it is shown, or null.
export function edges(orientation, mirrored) {
  if (!orientation) return null;
  const [right, bottom] = orientation;
  const [shownRight, shownLeft] = mirrored ? [across(right), right] : [right, across(right)];
  return {left: shownLeft, right: shownRight, top: across(bottom), bottom};
}

// Mammograms hang with the chest walls together: the right breast's to the right, the left one's to the left.
export function hangsMirrored(image, orientation) {
  if (image?.modality !== "MG" || !orientation) return false;
  const wall = {R: "P", L: "A"}[image.laterality];
  return wall !== undefined && /^[AP]/.test(orientation[0]) && orientation[0][0] !== wall;
}

// A painter that keeps the letters of a viewer's host.
export function orientationMarks(host) {
  const marks = ["left", "right", "top", "bottom"].map((side) => [side, el("span", {class: `mark ${side}`})]);
  host.append(...marks.map(([, mark]) => mark));
  let shown = "";
  return (context, viewer) => {
    const found = viewer.frame && edges(viewer.frame.orientation, viewer.mirrored);
    const key = JSON.stringify(found);
    if (key === shown) return;
    shown = key;
    for (const [side, mark] of marks) mark.textContent = found?.[side] ?? "";
  };
}
