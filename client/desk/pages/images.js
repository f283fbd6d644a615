// Frames and studies in the browser's memory only: what is on the screen, what lies beside it, and what comes next.

import {get, message} from "./net.js";
import {Raster} from "./raster.js";

const MOST = 96e6; // bytes of stored pixels; a frame takes about three times as many with its reduced copies
const FEWEST = 6; // frames that are kept however large they are
const frames = new Map(); // by address: {found: Promise, bytes}
const studies = new Map();

// A frame with its raster, from memory if it is there.
export function frame(image, number = 0) {
  const path = `/api/image/${image}/${number}`;
  const held = frames.get(path) ?? {found: fetched(path), bytes: 0};
  frames.delete(path); // the newest come last
  frames.set(path, held);
  return held.found;
}

async function fetched(path) {
  try {
    const found = await message(path);
    Object.assign(found, {path, raster: new Raster(found)});
    if (frames.has(path)) frames.get(path).bytes = found.pixels.byteLength;
    trim();
    return found;
  } catch (fault) {
    frames.delete(path);
    throw fault;
  }
}

function trim() {
  let bytes = 0;
  for (const held of frames.values()) bytes += held.bytes;
  for (const [path, held] of frames) {
    if (bytes <= MOST || frames.size <= FEWEST) return;
    bytes -= held.bytes;
    frames.delete(path);
  }
}

export const heatmap = (image, finding) => message(`/api/heatmap/${image}/${finding}`);

// A study as it is now; `ahead` takes the next one's answer and images before they are asked for.
export async function study(path) {
  const waiting = studies.get(path);
  studies.delete(path);
  try {
    return (await waiting) ?? (await get(path));
  } catch {
    return get(path);
  }
}

export async function ahead(path) {
  studies.clear();
  studies.set(path, get(path));
  try {
    const found = await studies.get(path);
    for (const {id: image} of [...(found.prior?.images ?? []).slice(0, 2), ...found.images.slice(0, 4).reverse()]) await frame(image);
  } catch {
    studies.delete(path); // it is asked for again when it is needed
  }
}
