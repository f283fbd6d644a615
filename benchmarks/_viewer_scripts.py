"""What benchmarks/viewer.py runs inside the page: the probe and the plain way of drawing."""

from __future__ import annotations

# Notes what each frame of the page's own scripts takes, before the page's first script runs.
PROBE = """
(() => {
  const real = window.requestAnimationFrame.bind(window);
  window.probe = {scripts: [], frames: [], last: "", on: false};
  window.requestAnimationFrame = (call) => real((now) => {
    const began = performance.now();
    call(now);
    if (window.probe.on) window.probe.scripts.push(performance.now() - began);
  });
  const look = (now) => {
    const shown = window.probe.shown ? window.probe.shown() : document.querySelector("#width")?.value;
    if (window.probe.on && shown !== window.probe.last) window.probe.frames.push(now);
    window.probe.last = shown;
    real(look);
  };
  real(look);
})();
"""

# The plain way: every pixel of the image by arithmetic, then the whole image scaled by the browser.
NAIVE = """
async () => {
  const {message} = await import("/static/net.js");
  const path = document.querySelector("#current canvas.image").dataset.shown;
  const frame = await message(path);
  const host = document.querySelector("#current .canvases");
  const canvas = document.createElement("canvas");
  canvas.id = "naive";
  [canvas.width, canvas.height] = [host.clientWidth, host.clientHeight];
  canvas.style.cssText = "z-index: 9";
  host.append(canvas);
  const whole = new OffscreenCanvas(frame.columns, frame.rows);
  const [inside, outside] = [whole.getContext("2d"), canvas.getContext("2d")];
  const made = new ImageData(frame.columns, frame.rows);
  let [width, center, asked, shown] = [frame.window.width, frame.window.center, 0, 0];
  window.probe.shown = () => shown;
  const paint = () => {
    asked = 0;
    const {data} = made;
    for (let at = 0, to = 0; at < frame.pixels.length; at++, to += 4) {
      const value = frame.pixels[at] * frame.slope + frame.intercept;
      const level = Math.min(1, Math.max(0, (value - (center - 0.5)) / (width - 1) + 0.5)) * 255;
      data[to] = data[to + 1] = data[to + 2] = level;
      data[to + 3] = 255;
    }
    inside.putImageData(made, 0, 0);
    const zoom = Math.min(canvas.width / frame.columns, canvas.height / frame.rows);
    outside.drawImage(whole, (canvas.width - frame.columns * zoom) / 2, 0, frame.columns * zoom, frame.rows * zoom);
    shown += 1;
  };
  let start = null;
  canvas.addEventListener("pointerdown", (event) => (start = [event.clientX, event.clientY]));
  canvas.addEventListener("pointerup", () => (start = null));
  canvas.addEventListener("pointermove", (event) => {
    if (!start) return;
    width = frame.window.width + (event.clientX - start[0]) * 100;
    center = frame.window.center + (event.clientY - start[1]) * 100;
    if (!asked) asked = requestAnimationFrame(paint);
  });
}
"""
NO_NAIVE = "() => { document.querySelector('#naive')?.remove(); window.probe.shown = null; }"

SIZE = """() => {
  const {width, height} = document.querySelector("#current canvas.image");
  return `${width} x ${height}`;
}"""

# Resolves with the milliseconds from the key that is pressed next until another image is on the canvas.
WATCH = """() => {
  const canvas = document.querySelector("#current canvas.image");
  const before = canvas.dataset.shown;
  window.waited = new Promise((done) => {
    addEventListener("keydown", () => {
      const began = performance.now();
      const look = () => {
        const {shown, ready} = canvas.dataset;
        if (shown && shown !== before && ready === "true") done(performance.now() - began);
        else setTimeout(look, 1);
      };
      look();
    }, {once: true, capture: true});
  });
}"""
