// Findings of a side: what they are called, and in which order they stand.

import {t} from "./words.js";

// A finding's name, with its side where it has one.
export const named = ({meaning, laterality}) => (laterality ? t("sided", {meaning, side: t(`side_${laterality}`)}) : meaning);

// What a release's finding is called; its key where the release does not look for it.
export function called(release, key) {
  const found = release?.findings.find((one) => one.key === key);
  return found ? named(found) : key;
}

// Findings by concept, each side of one in the same group: the patient's right first, as a frontal image hangs.
export function grouped(findings) {
  const groups = new Map();
  for (const one of findings) {
    const concept = one.laterality ? `${one.scheme} ${one.code}` : one.key;
    groups.set(concept, [...(groups.get(concept) ?? []), one]);
  }
  const right = ({laterality}) => laterality === "R";
  return [...groups.values()].map((sides) => sides.sort((one, other) => right(other) - right(one)));
}

// What an image is asked for, in the order of the panel. asked: the keys.
export const inOrder = (findings, asked) => grouped(findings.filter(({key}) => asked.includes(key))).flat();

// The place in `findings` of the other side of the one at `place`; that one where there is none.
export function otherSide(findings, place) {
  const {scheme, code, laterality} = findings[place] ?? {};
  const other = findings.findIndex((one) => laterality && one.laterality && one.laterality !== laterality && one.scheme === scheme && one.code === code);
  return other < 0 ? place : other;
}
