// Stored values for the visible viewport. Interpolation is done on stored values and before the table; where a screen
// pixel is a stored pixel (1:1) nothing is interpolated.

export class Raster {
  constructor(frame) {
    const offsets = new Uint16Array(frame.pixels.length);
    for (let place = 0; place < offsets.length; place++) offsets[place] = frame.pixels[place] - frame.low;
    this.levels = [{rows: frame.rows, columns: frame.columns, offsets}];
    this.outside = frame.table.length; // the place after the table's last
  }

  // The image reduced 2^level times by averaging: looked at from afar, a radiograph must not flicker.
  level(level) {
    while (this.levels.length <= level) {
      const {rows, columns, offsets} = this.levels.at(-1);
      const [r, c] = [Math.max(1, rows >> 1), Math.max(1, columns >> 1)];
      const [down, across] = [rows > 1 ? columns : 0, columns > 1 ? 1 : 0];
      const half = new Uint16Array(r * c);
      for (let y = 0; y < r; y++) {
        for (let x = 0, from = 2 * y * columns; x < c; x++, from += 2) {
          half[y * c + x] =
            (offsets[from] + offsets[from + across] + offsets[from + down] + offsets[from + down + across] + 2) >> 2;
        }
      }
      this.levels.push({rows: r, columns: c, offsets: half});
    }
    return this.levels[level];
  }

  // Offsets into the table for a viewport of width x height screen pixels, whose left upper corner lies at (x, y) of the
  // image (of its mirror image when `mirrored`), `zoom` screen pixels to a stored one; `outside` outside the image.
  sample({width, height, zoom, x, y, mirrored}, into) {
    const {outside} = this;
    const deepest = Math.floor(Math.log2(Math.min(this.levels[0].rows, this.levels[0].columns)));
    const level = Math.min(deepest, zoom >= 1 ? 0 : Math.floor(Math.log2(1 / zoom)));
    const {rows, columns, offsets} = this.level(level);
    const scale = 2 ** -level;
    const across = axis(width, zoom, x, columns, scale, this.levels[0].columns, mirrored);
    const down = axis(height, zoom, y, rows, scale, this.levels[0].rows, false);
    for (let j = 0, at = 0; j < height; j++) {
      const row = down.low[j];
      if (row < 0) {
        into.fill(outside, at, at + width);
        at += width;
        continue;
      }
      const [upper, lower, v] = [row * columns, Math.min(rows - 1, row + 1) * columns, down.share[j]];
      for (let i = 0; i < width; i++, at++) {
        const left = across.low[i];
        if (left < 0) {
          into[at] = outside;
          continue;
        }
        const u = across.share[i];
        if (u === 0 && v === 0) {
          into[at] = offsets[upper + left];
          continue;
        }
        const right = left + 1 < columns ? left + 1 : left;
        const top = offsets[upper + left] + (offsets[upper + right] - offsets[upper + left]) * u;
        const bottom = offsets[lower + left] + (offsets[lower + right] - offsets[lower + left]) * u;
        into[at] = (top + (bottom - top) * v + 0.5) | 0;
      }
    }
    return into;
  }
}

function axis(length, zoom, start, cells, scale, whole, turned) {
  const low = new Int32Array(length);
  const share = new Float64Array(length);
  for (let i = 0; i < length; i++) {
    const shown = start + (i + 0.5) / zoom;
    const at = turned ? whole - shown : shown;
    if (at < 0 || at >= whole) {
      low[i] = -1;
      continue;
    }
    const place = Math.min(cells - 1, Math.max(0, at * scale - 0.5));
    low[i] = Math.floor(place);
    share[i] = place - low[i];
  }
  return {low, share};
}
