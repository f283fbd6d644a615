// Frames and studies in the browser's memory only: what is on the screen, its prior, and what comes next.

import {get, message} from "./net.js";

const MOST = 8;
const frames = new Map();
const studies = new Map();

function kept(store, key, make, most) {
  const found = store.get(key) ?? make().catch((fault) => {
    store.delete(key);
    throw fault;
  });
  store.delete(key); // the newest come last
  store.set(key, found);
  while (store.size > most) store.delete(store.keys().next().value);
  return found;
}

export const frame = (image) => kept(frames, image, () => message(`/api/image/${image}/0`), MOST);
export const heatmap = (image, finding) => message(`/api/heatmap/${image}/${finding}`);

// A study as it is now; `ahead` takes the next one's answer and images before they are asked for.
export async function study(id, query) {
  const path = `/api/study/${id}?${query}`;
  const waiting = studies.get(path);
  studies.delete(path);
  try {
    return (await waiting) ?? (await get(path));
  } catch {
    return get(path);
  }
}

export async function ahead(id, query) {
  const path = `/api/study/${id}?${query}`;
  studies.clear();
  studies.set(path, get(path));
  try {
    const found = await studies.get(path);
    for (const {id: image} of [...(found.prior?.images ?? []), ...found.images].slice(-4)) await frame(image);
  } catch {
    studies.delete(path); // it is asked for again when it is needed
  }
}
