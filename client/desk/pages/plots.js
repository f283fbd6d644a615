// Plots as SVG, drawn from the same rows as the table beside them: a plot never says what a table does not.

const SPACE = "http://www.w3.org/2000/svg";
const ROW = 24;

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

// A canvas of SVG with what it shows in words, for who does not see it.
function plot(width, height, said, ...children) {
  return svg("svg", {class: "plot", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": said},
    svg("title", {}, said), ...children);
}

const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

// rows: [{label, value, low, high}]; from, to: ends of the scale; ticks: where it is marked. A dot with its interval each.
export function intervals(rows, {from, to, ticks, said}) {
  const [left, width] = [270, 580];
  const height = rows.length * ROW + 30;
  const x = (value) => left + ((Math.min(to, Math.max(from, value)) - from) / (to - from)) * (width - left - 20);
  const scale = ticks.flatMap((tick) => [
    svg("line", {class: "guide", x1: x(tick), x2: x(tick), y1: 4, y2: height - 22}),
    svg("text", {class: "faint", x: x(tick), y: height - 6, "text-anchor": "middle"}, String(tick)),
  ]);
  const marks = rows.flatMap(({label, value, low, high}, place) => {
    const y = place * ROW + ROW / 2 + 4;
    return [
      svg("text", {x: left - 10, y: y + 4, "text-anchor": "end"}, short(label, 42)),
      svg("line", {class: "whisker", x1: x(low), x2: x(high), y1: y, y2: y}),
      svg("circle", {class: "dot", cx: x(value), cy: y, r: 5}),
    ];
  });
  return plot(width, height, said, ...scale, ...marks);
}

// rows: [{label, value}], from 0 on; format: (value) => text.
export function bars(rows, {format, said}) {
  const [left, width] = [160, 460];
  const height = rows.length * ROW + 8;
  const most = Math.max(...rows.map(({value}) => value), 1e-9);
  const marks = rows.flatMap(({label, value}, place) => {
    const [y, long] = [place * ROW + 6, (value / most) * (width - left - 80)];
    return [
      svg("text", {x: left - 10, y: y + 14, "text-anchor": "end"}, short(label, 22)),
      svg("rect", {class: "bar", x: left, y, width: Math.max(1, long), height: ROW - 8}),
      svg("text", {x: left + long + 6, y: y + 14}, format(value)),
    ];
  });
  return plot(width, height, said, ...marks);
}

// bins: [{stated, observed: {value, low, high}, frames}]. On the dotted line, what is stated is what is found.
export function reliability(bins, {said, across, up}) {
  const [size, edge] = [300, 44];
  const x = (value) => edge + value * (size - edge - 10);
  const y = (value) => size - edge - value * (size - edge - 10);
  const most = Math.max(...bins.map(({frames}) => frames));
  const ticks = [0, 0.5, 1].flatMap((tick) => [
    svg("text", {class: "faint", x: x(tick), y: size - edge + 16, "text-anchor": "middle"}, String(tick)),
    svg("text", {class: "faint", x: edge - 6, y: y(tick) + 4, "text-anchor": "end"}, String(tick)),
  ]);
  const marks = bins.flatMap(({stated, observed, frames}) => [
    svg("line", {class: "whisker", x1: x(stated), x2: x(stated), y1: y(observed.low), y2: y(observed.high)}),
    svg("circle", {class: "dot", cx: x(stated), cy: y(observed.value), r: 3 + 5 * Math.sqrt(frames / most)}),
  ]);
  return plot(size, size, said,
    svg("line", {class: "axis", x1: x(0), x2: x(1), y1: y(0), y2: y(0)}), svg("line", {class: "axis", x1: x(0), x2: x(0), y1: y(0), y2: y(1)}),
    svg("line", {class: "guide", x1: x(0), y1: y(0), x2: x(1), y2: y(1)}), ...ticks, ...marks,
    svg("text", {class: "faint", x: x(0.5), y: size - 8, "text-anchor": "middle"}, across),
    svg("text", {class: "faint", x: 12, y: y(0.5), "text-anchor": "middle", transform: `rotate(-90 12 ${y(0.5)})`}, up));
}
