// Talking to the node: JSON, and the binary messages that frames and heatmaps come as.

let word = "";
let reader = null;

export class Refused extends Error {
  constructor(status, answer) {
    super(answer.fix ? `${answer.error}. ${answer.fix}` : answer.error || String(status));
    this.status = status;
    this.answer = answer;
  }
}

async function answered(response) {
  if (response.ok) return response;
  let answer = {};
  try {
    answer = await response.json();
  } catch {
    answer = {error: response.statusText};
  }
  throw new Refused(response.status, answer);
}

export async function get(path) {
  return (await answered(await fetch(path, {credentials: "same-origin"}))).json();
}

export async function about() {
  const found = await get("/api/about");
  // What this page has to say is its own reader's, whoever signed in at another window meanwhile.
  if (reader !== null && reader !== found.reader) throw new Refused(401, {error: "another reader has signed in"});
  reader = found.reader;
  word = found.csrf;
  return found;
}

// The same before somebody has signed in.
export async function atTheDoor() {
  const found = await get("/api/door");
  word = found.csrf;
  return found;
}

export async function post(path, body) {
  if (!word) await about();
  const send = async () => {
    const headers = {"content-type": "application/json", "x-medquorum-csrf": word};
    const sent = await fetch(path, {method: "POST", credentials: "same-origin", headers, body: JSON.stringify(body)});
    return (await answered(sent)).json();
  };
  try {
    return await send();
  } catch (fault) {
    if (!(fault instanceof Refused && fault.answer.word) || reader === null) throw fault;
    await about(); // the reader has signed in anew, in another window
    return send();
  }
}

const KINDS = {u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, f8: Float64Array};

// A message of client/desk/frames.py: its head, with each array under its name.
export async function message(path) {
  const data = await (await answered(await fetch(path, {credentials: "same-origin"}))).arrayBuffer();
  const length = new DataView(data).getUint32(0, true);
  const found = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  let at = 4 + length;
  for (const [name, kind, entries] of found.arrays) {
    const array = new KINDS[kind](data, at, entries);
    found[name] = array;
    at += Math.ceil(array.byteLength / 8) * 8;
  }
  return found;
}
