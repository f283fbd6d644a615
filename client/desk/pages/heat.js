// The heatmap of the chosen finding: asked for when it is wanted, kept while its image is open.

import {byId, el} from "./dom.js";
import {heatmap} from "./images.js";
import {heatPainter} from "./overlay.js";
import {say} from "./shell.js";
import {t} from "./words.js";

// desk: the page's state (see study.js); current: its viewer.
export function heating(desk, current) {
  const maps = new Map();
  let [wanted, opacity] = [false, 0.5];

  const key = () => desk.findings[desk.finding]?.key;
  const hidden = () => Boolean(desk.loading || desk.reading?.image.withheld || desk.reading?.frame);
  current.painters.push(heatPainter(() => (wanted && !hidden() ? maps.get(key()) : null), () => opacity));

  async function refresh() {
    byId("heat").setAttribute("aria-pressed", String(wanted));
    const {image, frame} = desk.reading ?? {};
    if (!wanted || !image || !key()) return current.draw();
    if (image.withheld) return say(t(`withheld_${image.withheld}`), "warning");
    if (frame) return say(t("first_frame_only"), "note");
    const asked = key();
    if (!maps.has(asked)) {
      try {
        const found = await heatmap(image.id, asked);
        if (desk.reading.image === image) maps.set(asked, found);
      } catch (fault) {
        return say(fault.message, "warning");
      }
    }
    current.draw();
  }

  function fade(step) {
    opacity = Math.min(1, Math.max(0.1, opacity + step));
    byId("opacity").value = opacity;
    current.draw();
  }

  return {
    refresh, fade,
    forget: () => maps.clear(),
    toggle() {
      wanted = !wanted;
      refresh();
    },
    // A slider for the toolbar.
    slider() {
      const range = el("input", {id: "opacity", type: "range", min: 0.1, max: 1, step: 0.1, "aria-label": t("opacity")});
      range.value = opacity;
      range.addEventListener("input", () => fade(Number(range.value) - opacity));
      return range;
    },
  };
}
