// The same timeline as client/desk/timeline.py, for actions that the node has not answered yet.

export const NOTHING = "";

export class Timeline {
  constructor(said, at, last) {
    [this.said, this.at, this.last] = [said, at, last];
  }

  get current() {
    return this.at ? this.said[this.at - 1] : null;
  }

  get undo() {
    if (this.at === 0) return null;
    return this.at > 1 ? this.said[this.at - 2].id : NOTHING;
  }

  get redo() {
    return this.at < this.said.length ? this.said[this.at].id : null;
  }

  after(event) {
    const place = event.restates === NOTHING ? 0 : this.said.findIndex((one) => one.id === event.restates) + 1;
    const moves = event.restates === NOTHING || (event.restates && place > 0);
    if (moves) return new Timeline(this.said, place, event.id);
    return new Timeline([...this.said.slice(0, this.at), event], this.at + 1, event.id);
  }
}
