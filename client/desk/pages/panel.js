// The panel beside the image: findings with what is proposed and what is said, regions, the release that proposed.

import {button, byId, el} from "./dom.js";
import {grouped, named} from "./sides.js";
import {t} from "./words.js";

const STATES = [["present", "y"], ["absent", "n"], ["uncertain", "u"], ["not_assessed", "x"]];
const percent = (chance) => `${(100 * chance).toFixed(0)} %`;

// desk: the page's own state and commands (see study.js).
export function drawPanel(desk) {
  const {reading} = desk;
  byId("findings").replaceChildren(...grouped(desk.findings).map((sides) =>
    (sides.length > 1 ? conceptRow(desk, sides) : findingRow(desk, sides[0], named(sides[0])))));
  byId("proposed").replaceChildren(...proposalLines(desk));
  const items = reading.regions.map((region, place) =>
    el("li", {}, el("button", {
      type: "button", class: `region ${region.style}`, "aria-pressed": place === desk.chosen ? "true" : "false",
      onclick: () => desk.choose(place),
    }, `${desk.meaning(region.finding)}: ${t(region.style === "mine" ? "region_mine" : "region_proposed")}`)));
  byId("regions").replaceChildren(...(items.length ? items : [el("li", {}, t("no_regions"))]));
  const comment = byId("comment");
  if (document.activeElement !== comment) comment.value = desk.draft(reading.current?.comment ?? "");
  byId("undo").disabled = reading.line.undo === null;
  byId("redo").disabled = reading.line.redo === null;
  const unseen = reading.others.length ? 0 : reading.image.others;
  byId("others").textContent = unseen ? t("others", {count: unseen}) : "";
  byId("again").textContent = reading.again ? t("again_note") : "";
}

// Both sides of a concept on one line.
const conceptRow = (desk, sides) => el("li", {class: "concept"},
  el("span", {class: "meaning"}, sides[0].meaning),
  el("ul", {class: "sides", "aria-label": sides[0].meaning}, ...sides.map((one) => findingRow(desk, one, t(`side_${one.laterality}`)))));

function findingRow(desk, finding, name) {
  const {reading} = desk;
  const place = desk.findings.indexOf(finding);
  const [state, hint] = [reading.stateOf(finding.key), reading.suggested(finding.key)];
  const chance = reading.proposal?.probabilities[finding.key];
  const buttons = STATES.map(([name, key]) => el("button", {
    type: "button", class: `state ${name}`, "aria-pressed": state === name && state !== "not_assessed" ? "true" : "false",
    "data-suggested": state === "not_assessed" && hint === name, "aria-keyshortcuts": key,
    onclick: () => desk.state(finding.key, name),
  }, t(name), place === desk.finding ? el("kbd", {"aria-hidden": "true"}, key) : ""));
  return el("li", {class: "finding", "data-key": finding.key, "data-state": state, "aria-current": place === desk.finding ? "true" : undefined},
    el("span", {class: "meaning"}, name),
    el("span", {class: "chance"}, chance === undefined ? "" : t("proposed_chance", {chance: percent(chance)})),
    el("span", {class: "states", role: "group", "aria-label": named(finding)}, ...buttons));
}

function proposalLines(desk) {
  const {reading, study} = desk;
  const {image, proposal} = reading;
  const lines = [];
  if (image.not_asked) lines.push(t("not_asked", {reason: image.not_asked}));
  if (image.withheld) lines.push(t(`withheld_${image.withheld}`));
  else if (reading.frame) lines.push(t("first_frame_only"));
  else if (!proposal) lines.push(t("no_proposal"));
  else {
    lines.push(t(proposal.earlier ? "proposed_by_earlier" : "proposed_by", {release: proposal.release.slice(0, 12)}));
    if (!proposal.applicable) lines.push(t("not_applicable", {reason: proposal.reason}));
    else if (!proposal.earlier && study.release) {
      for (const finding of desk.findings) {
        const [meaning, temperature] = [named(finding), study.release.temperatures[finding.key]];
        lines.push(temperature === 1 ? t("uncalibrated", {meaning}) : t("calibrated", {meaning, temperature: temperature.toFixed(2)}));
      }
    }
  }
  const reveal = image.withheld && image.withheld !== "held_out" ? [button(t("reveal"), "p", () => desk.reveal())] : [];
  return [...lines.map((line) => el("p", {}, line)), ...reveal];
}

// One button for each stack: a film, a series of slices, or a single image.
export function drawStrip(desk) {
  const {images} = desk.study;
  const many = (stack) => images.filter((one) => one.stack === stack).reduce((sum, {frames}) => sum + frames, 0);
  const firsts = images.flatMap((image, place) => (images.findIndex(({stack}) => stack === image.stack) === place ? [[image, place]] : []));
  byId("strip").replaceChildren(...firsts.map(([image, place], number) => {
    const name = [image.view || image.modality, image.laterality].filter(Boolean).join(" ") || String(number + 1);
    const count = many(image.stack) > 1 ? ` (${many(image.stack)})` : "";
    return el("button", {
      type: "button", "aria-pressed": image.stack === images[desk.place].stack ? "true" : "false", onclick: () => desk.openImage(place),
    }, name + count);
  }));
  byId("strip").hidden = firsts.length < 2;
}
