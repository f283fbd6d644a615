// What lies over an image: a heatmap, regions, and the handles by which a region is moved and resized.

const COLOURS = {
  proposed: "#ffb347", mine: "#4dd9ff", chosen: "#ffffff",
  beside_0: "#ff9ef5", beside_1: "#b6ff7a", beside_2: "#ffe45c", beside_3: "#c9b8ff",
};
const DASHES = {proposed: [7, 5], beside_0: [2, 4], beside_1: [14, 4], beside_2: [10, 4, 2, 4], beside_3: [4, 2]};
const REACH = 9; // canvas pixels around an edge that still count as it

// regions: () => [{box | mask, finding, style: a key of COLOURS, label}]; chosen: () => index or -1.
export function regionPainter(regions, chosen) {
  return (context, viewer) => {
    const found = regions();
    found.forEach((region, place) => {
      const colour = place === chosen() ? COLOURS.chosen : COLOURS[region.style];
      context.save();
      context.strokeStyle = context.fillStyle = colour;
      context.lineWidth = place === chosen() ? 3 : 2;
      context.setLineDash(DASHES[region.style] ?? []);
      if (region.box) {
        const [ia, j0] = viewer.screen([region.box[0], region.box[1]]);
        const [ib, j1] = viewer.screen([region.box[2], region.box[3]]);
        const [i0, i1] = [Math.min(ia, ib), Math.max(ia, ib)];
        context.strokeRect(i0, j0, i1 - i0, j1 - j0);
        context.font = "14px sans-serif";
        context.fillText(region.label, i0 + 4, j0 > 18 ? j0 - 5 : j0 + 16);
        if (place === chosen()) for (const [i, j] of [[i0, j0], [i1, j0], [i0, j1], [i1, j1]]) context.fillRect(i - 4, j - 4, 8, 8);
      } else {
        const {rows, columns} = region.mask;
        context.globalAlpha = 0.35;
        context.imageSmoothingEnabled = false;
        overImage(context, viewer, maskImage(region.mask, colour), rows, columns);
      }
      context.restore();
    });
    return found.length > 0;
  };
}

function maskImage(mask, colour) {
  if (mask.image?.colour === colour) return mask.image.canvas;
  const bits = Uint8Array.from(atob(mask.bits), (one) => one.charCodeAt(0));
  const made = new ImageData(mask.columns, mask.rows);
  const word = 0xff000000 | (parseInt(colour.slice(5, 7), 16) << 16) | (parseInt(colour.slice(3, 5), 16) << 8) | parseInt(colour.slice(1, 3), 16);
  const words = new Uint32Array(made.data.buffer);
  for (let at = 0; at < words.length; at++) if (bits[at >> 3] & (0x80 >> (at & 7))) words[at] = word;
  const canvas = new OffscreenCanvas(mask.columns, mask.rows);
  canvas.getContext("2d").putImageData(made, 0, 0);
  mask.image = {colour, canvas};
  return canvas;
}

// heat: () => {rows, columns, map} or null; opacity: () => 0 to 1. Black over red to yellow, clear where nothing speaks.
export function heatPainter(heat, opacity) {
  return (context, viewer) => {
    const found = heat();
    if (!found || !viewer.frame) return false;
    if (!found.canvas) {
      const made = new ImageData(found.columns, found.rows);
      found.map.forEach((value, at) => made.data.set([255, Math.max(0, 2 * value - 255), 0, value], 4 * at));
      found.canvas = new OffscreenCanvas(found.columns, found.rows);
      found.canvas.getContext("2d").putImageData(made, 0, 0);
    }
    const {rows, columns} = viewer.frame;
    context.save();
    context.globalAlpha = opacity();
    context.imageSmoothingEnabled = true;
    overImage(context, viewer, found.canvas, rows, columns);
    context.restore();
    return true;
  };
}

// Draw what covers the whole image, mirrored as the image is.
function overImage(context, viewer, canvas, rows, columns) {
  context.translate(...viewer.screen([0, 0]));
  context.scale(viewer.mirrored ? -viewer.view.zoom : viewer.view.zoom, viewer.view.zoom);
  context.drawImage(canvas, 0, 0, columns, rows);
}

// Which boxes' edge, corner or inside a point of the canvas hits: {place, edges: [left, top, right, bottom]} or null. Only
// the chosen region can be taken by its inside, so that dragging elsewhere changes the window.
export function hit(viewer, regions, chosen, point) {
  const order = regions.map((_, place) => place).sort((a, b) => (b === chosen) - (a === chosen));
  for (const place of order) {
    const {box} = regions[place];
    if (!box) continue;
    const [i0, j0] = viewer.screen([box[0], box[1]]);
    const [i1, j1] = viewer.screen([box[2], box[3]]);
    const [i, j] = point;
    if (i < Math.min(i0, i1) - REACH || i > Math.max(i0, i1) + REACH || j < j0 - REACH || j > j1 + REACH) continue;
    const near = [Math.abs(i - i0), Math.abs(j - j0), Math.abs(i - i1), Math.abs(j - j1)].map((far) => far <= REACH);
    if (near[0] && near[2]) near[0] = false;
    if (near[1] && near[3]) near[1] = false;
    if (near.some(Boolean)) return {place, edges: near};
    if (place === chosen) return {place, edges: [true, true, true, true]};
  }
  return null;
}

// A box with some of its edges shifted, kept inside the image and at least one pixel wide.
export function shifted(box, edges, [dx, dy], {rows, columns}) {
  let [x0, y0, x1, y1] = box;
  if (edges.every(Boolean)) {
    dx = Math.min(Math.max(dx, -x0), columns - x1);
    dy = Math.min(Math.max(dy, -y0), rows - y1);
  }
  if (edges[0]) x0 += dx;
  if (edges[1]) y0 += dy;
  if (edges[2]) x1 += dx;
  if (edges[3]) y1 += dy;
  return bounded([x0, y0, x1, y1], {rows, columns});
}

export function bounded([x0, y0, x1, y1], {rows, columns}) {
  const [left, right] = [Math.max(0, Math.min(x0, x1)), Math.min(columns, Math.max(x0, x1))];
  const [top, bottom] = [Math.max(0, Math.min(y0, y1)), Math.min(rows, Math.max(y0, y1))];
  const [x, y] = [Math.min(left, columns - 1), Math.min(top, rows - 1)];
  return [x, y, Math.max(x + 1, right), Math.max(y + 1, bottom)];
}
