// What a statement took: keys, clicks and seconds since the one before.

const LONGEST_PAUSE = 120; // seconds that count as reading when nothing is pressed
const effort = {actions: 0, seconds: 0, last: performance.now()};

function count() {
  const now = performance.now();
  effort.seconds += Math.min(LONGEST_PAUSE, (now - effort.last) / 1000);
  effort.last = now;
}

for (const kind of ["keydown", "pointerdown"]) {
  addEventListener(kind, (event) => {
    if (event.repeat) return;
    count();
    effort.actions += 1;
  }, {capture: true});
}

// {actions, seconds} since this was asked last.
export function spent() {
  count();
  const found = {actions: effort.actions, seconds: Math.round(effort.seconds * 10) / 10};
  [effort.actions, effort.seconds] = [0, 0];
  return found;
}
