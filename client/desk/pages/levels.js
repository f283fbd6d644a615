// From stored values to 8 bits: operation by operation what client/desk/frames.py does, so that both agree to the bit.

export function windowTable(frame, center, width, inverted) {
  const table = new Uint8Array(frame.table.length);
  const turned = frame.inverted !== inverted;
  const {low, padding, values, slope, intercept} = frame;
  for (let place = 0; place < table.length; place++) {
    const stored = low + place;
    if (padding && stored >= padding[0] && stored <= padding[1]) continue;
    const value = values ? values[place] : stored * slope + intercept;
    let shown;
    if (frame.function === "LINEAR_EXACT") shown = (value - center) / width + 0.5;
    else if (width > 1) shown = (value - (center - 0.5)) / (width - 1) + 0.5;
    else shown = value > center - 0.5 ? 1 : 0;
    shown = shown < 0 ? 0 : shown > 1 ? 1 : shown;
    if (turned) shown = 1 - shown;
    table[place] = Math.floor(shown * 255 + 0.5);
  }
  return table;
}

// The table that the file itself asks for, turned round when the reader inverts.
export function statedTable(frame, inverted) {
  if (!inverted) return frame.table;
  return Uint8Array.from(frame.table, (level, place) => {
    const stored = frame.low + place;
    return frame.padding && stored >= frame.padding[0] && stored <= frame.padding[1] ? 0 : 255 - level;
  });
}

// A canvas's word for each entry of a table, and black after the last: what lies outside the image.
export function colours(table) {
  const words = new Uint32Array(table.length + 1);
  for (let at = 0; at < table.length; at++) words[at] = 0xff000000 | (table[at] * 0x010101);
  words[table.length] = 0xff000000;
  return words;
}
