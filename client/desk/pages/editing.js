// Regions under mouse and keys: drawn, chosen, moved, resized, deleted. What is on its way is an action once it rests.

import {byId} from "./dom.js";
import {bounded, hit, shifted} from "./overlay.js";

// desk: the page's state (see study.js); current: its viewer; redraw: draws panel and image anew.
export function regionEditing(desk, current, redraw) {
  let nudged = null;
  let nudging = 0;
  let sketch = null;
  let draws = false;

  function replaceRegion(place, box) {
    const {regions} = desk.reading;
    const {finding} = regions[place];
    const same = regions.filter((one) => one.finding === finding);
    const at = same.indexOf(regions[place]);
    const next = same.flatMap((one, index) => (index !== at ? [one] : box ? [{finding, box, origin: "drawn"}] : []));
    desk.reading.draw(finding, next);
    const after = desk.reading.regions;
    const own = after.map((_, index) => index).filter((index) => after[index].finding === finding);
    desk.chosen = box ? own[at] : -1;
    redraw();
  }

  function newRegion(box) {
    const {key} = desk.findings[desk.finding];
    const same = desk.reading.regions.filter((one) => one.finding === key);
    desk.reading.draw(key, [...same, {finding: key, box: bounded(box, current.frame), origin: "drawn"}]);
    const after = desk.reading.regions;
    desk.chosen = after.findLastIndex((one) => one.finding === key);
    drawing(false);
    redraw();
  }

  function drawing(on) {
    draws = on;
    byId("draw").setAttribute("aria-pressed", String(on));
    byId("current").classList.toggle("drawing", on);
  }

  // A box in the middle of what is seen, for who works without a mouse.
  function boxInTheMiddle() {
    if (!current.frame || !desk.reading.findings.length) return;
    const [i, j] = [current.over.width, current.over.height];
    newRegion([...current.stored([i * 0.4, j * 0.4]), ...current.stored([i * 0.6, j * 0.6])].map(Math.round));
  }

  function chooseNext() {
    settleNudge();
    const many = desk.reading.regions.length;
    desk.chosen = many ? (desk.chosen + 1) % many : -1;
    redraw();
  }

  // Arrow keys: a region is on its way until the keys rest for half a second, and is one action then.
  function nudge(dx, dy, edges) {
    const region = nudged ?? desk.reading.regions[desk.chosen];
    if (!region?.box || !current.frame) return false;
    const step = Math.max(1, Math.round(4 / current.view.zoom));
    const [across, turned] = current.mirrored ? [-dx, [edges[2], edges[1], edges[0], edges[3]]] : [dx, edges];
    nudged = {...region, box: shifted(region.box, turned, [across * step, dy * step], current.frame)};
    clearTimeout(nudging);
    nudging = setTimeout(settleNudge, 500);
    current.draw();
    return true;
  }

  function settleNudge() {
    clearTimeout(nudging);
    if (!nudged) return;
    const {box} = nudged;
    nudged = null;
    replaceRegion(desk.chosen, box);
  }

  const arrow = (dx, dy, otherwise) => () => nudge(dx, dy, [true, true, true, true]) || otherwise?.();
  const resize = (dx, dy) => () => nudge(dx, dy, [false, false, true, true]);

  function shownRegions() {
    if (desk.loading) return []; // the image that they lie on is not on the screen yet
    const regions = desk.reading?.regions ?? [];
    const shown = regions.map((region, place) => ({
      ...region, ...(nudged && place === desk.chosen ? {box: nudged.box, style: "mine"} : {}), label: desk.meaning(region.finding),
    }));
    return sketch ? [...shown, sketch] : shown;
  }

  function takeDrag(start) {
    if (!desk.reading?.findings.length || desk.loading) return null;
    const from = current.stored(start);
    if (draws) {
      return (point, over) => {
        const box = bounded([...from, ...current.stored(point)], current.frame);
        sketch = over ? null : {box, finding: desk.findings[desk.finding].key, style: "mine", label: ""};
        if (over && (box[2] - box[0]) * current.view.zoom > 4) newRegion(box);
        current.draw();
      };
    }
    const found = hit(current, desk.reading.regions, desk.chosen, start);
    if (!found) return null;
    desk.choose(found.place);
    const {box} = desk.reading.regions[found.place];
    return (point, over) => {
      const to = current.stored(point);
      const next = shifted(box, found.edges, [to[0] - from[0], to[1] - from[1]], current.frame);
      nudged = next.every((edge, at) => edge === box[at]) ? null : {...desk.reading.regions[found.place], box: next};
      if (over) settleNudge();
      current.draw();
    };
  }

  return {
    settle: settleNudge, shown: shownRegions, takeDrag, drawing, arrow, resize, chooseNext, boxInTheMiddle,
    drawingNow: () => draws,
    busy: () => nudged !== null,
    remove: () => desk.chosen >= 0 && (settleNudge(), replaceRegion(desk.chosen, null)),
  };
}
