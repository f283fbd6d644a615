// What one reader says of one frame: the node's timeline plus the actions that wait, what is suggested, what is shown.

import {newId, push, waitingFor} from "./queue.js";
import {Timeline} from "./timeline.js";

export class Reading {
  // image: of /api/study; frame: counted from 0; findings: [{key, meaning}]; effort: () => {actions, seconds} since it was
  // asked last.
  constructor(image, frame, findings, effort) {
    [this.image, this.frame, this.findings, this.effort] = [image, frame, findings, effort];
    this.settle(image.lines[frame] ?? {said: [], at: 0, last: null});
  }

  // Take the node's word, and put on top of it what it has not answered yet.
  settle({said, at, last}) {
    this.line = new Timeline(said, at, last);
    const known = [...said, ...this.others].flatMap(({regions}) => regions).concat(this.proposal?.regions ?? []);
    for (const action of waitingFor(this.image.id, this.frame)) {
      const regions = action.regions.map((one) => known.find(({ref}) => one.ref && ref === one.ref) ?? {...one, origin: "drawn"});
      this.line = this.line.after({...action, regions});
    }
  }

  // What others said of the frame, where a disagreement is to be settled.
  get others() {
    return this.image.disputes?.[this.frame]?.readings ?? [];
  }

  // Whether this reader is asked to look at the frame again.
  get again() {
    return this.image.again?.includes(this.frame) ?? false;
  }

  get current() {
    return this.line.current;
  }

  stateOf(key) {
    return this.current?.states[key] ?? "not_assessed";
  }

  // The model looks at the first frame of an image only.
  get proposal() {
    return this.frame === 0 ? this.image.proposal : null;
  }

  suggested(key) {
    const chance = this.proposal?.probabilities[key];
    return chance === undefined ? null : chance >= 0.5 ? "present" : "absent";
  }

  get complete() {
    return this.findings.every(({key}) => this.stateOf(key) !== "not_assessed");
  }

  // The regions on the screen: the reader's own; of findings not stated yet, those proposed.
  get regions() {
    const own = (this.current?.regions ?? []).map((region) => ({...region, style: "mine"}));
    const open = (this.proposal?.regions ?? [])
      .filter(({finding}) => this.stateOf(finding) === "not_assessed")
      .map((region) => ({...region, style: "proposed"}));
    return [...own, ...open];
  }

  proposedFor(key) {
    return (this.proposal?.regions ?? []).filter(({finding}) => finding === key);
  }

  // State findings: {key: state}. Present takes the proposed regions along, absent and not assessed drop all.
  state(changes) {
    const states = {...this.current?.states, ...changes};
    let regions = this.current?.regions ?? [];
    for (const [key, state] of Object.entries(changes)) {
      const known = regions.filter(({finding}) => finding === key);
      regions = regions.filter(({finding}) => finding !== key);
      if (state === "present") regions = [...regions, ...(known.length ? known : this.proposedFor(key))];
      else if (state === "uncertain") regions = [...regions, ...known];
    }
    this.act({states, regions});
  }

  // Everything not stated yet as proposed. False when something would stay unstated.
  accept() {
    const open = this.findings.filter(({key}) => this.stateOf(key) === "not_assessed");
    if (open.some(({key}) => this.suggested(key) === null)) return false;
    if (open.length) this.state(Object.fromEntries(open.map(({key}) => [key, this.suggested(key)])));
    return true;
  }

  // The regions of one finding as they are to be; a finding that is drawn is present, unless it was called uncertain.
  draw(key, regions) {
    const kept = (this.current?.regions ?? []).filter(({finding}) => finding !== key);
    const state = this.stateOf(key) === "uncertain" ? "uncertain" : "present";
    this.act({states: {...this.current?.states, [key]: state}, regions: [...kept, ...regions]});
  }

  // Say the same once more.
  confirm() {
    return this.move(this.current?.id ?? null);
  }

  comment(text) {
    this.act({comment: text});
  }

  undo() {
    return this.move(this.line.undo);
  }

  redo() {
    return this.move(this.line.redo);
  }

  move(restates) {
    if (restates === null) return false;
    this.say({states: {}, regions: [], comment: "", restates});
    return true;
  }

  act(changes) {
    const {states = {}, regions = [], comment = ""} = this.current ?? {};
    const all = Object.fromEntries(this.findings.map(({key}) => [key, "not_assessed"]));
    this.say({states: {...all, ...states}, regions, comment, restates: null, ...changes});
  }

  say({states, regions, comment, restates}) {
    const action = {
      id: newId(),
      instance: this.image.id,
      frame: this.frame,
      base: this.line.last,
      proposal: this.proposal?.id ?? null,
      states,
      regions: regions.map(({finding, ref, box, origin}) =>
        box && origin === "drawn" ? {finding, box} : {finding, ref}),
      comment,
      restates,
      weighs: this.others.map(({id}) => id),
      ...this.effort(),
    };
    this.image.again = this.image.again?.filter((frame) => frame !== this.frame);
    this.line = this.line.after({...action, regions});
    push(action);
  }
}
