// Drawings on the server, by the names of their content. What was stored or read once stays here,
// so that undo needs no server. `send(text)` and `fetch(name)` resolve to {problem, text}, where
// the problem is a sentence, or "".

import { nameOf } from "./drawing.js";
import { sha256 } from "./sha256.js";

export class DrawingStore {
  constructor({ send, fetch }) {
    Object.assign(this, { send, fetch });
    this.texts = new Map(); // name → text
    this.stored = new Set(); // names of what the server has
    this.waiting = new Map(); // name → what becomes of sending it
  }

  // The name of a text; it is sent by `keep`.
  name(text) {
    const name = nameOf(sha256(text));
    this.texts.set(name, text);
    return name;
  }

  text(name) {
    return this.texts.get(name);
  }

  // Has the server store a named text. Resolves to "", or to why it could not.
  keep(name) {
    if (this.stored.has(name) || !this.texts.has(name)) return Promise.resolve("");
    if (!this.waiting.has(name)) {
      const sent = this.send(this.texts.get(name)).then(({ problem }) => {
        this.waiting.delete(name);
        if (!problem) this.stored.add(name);
        return problem;
      });
      this.waiting.set(name, sent);
    }
    return this.waiting.get(name);
  }

  // Reads a drawing of the server: {text, problem}.
  async read(name) {
    if (this.texts.has(name)) return { text: this.texts.get(name), problem: "" };
    const { text = "", problem } = await this.fetch(name);
    if (!problem) {
      this.texts.set(name, text);
      this.stored.add(name);
    }
    return { text, problem };
  }

  // When everything that was sent has been answered.
  async settled() {
    while (this.waiting.size) await Promise.all(this.waiting.values());
  }
}
