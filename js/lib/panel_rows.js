// The panel's text and its rows: reading, writing and every change of them, without a page. The
// text is the only state; keys that are not known here stay as they are.

export const EMPTY = '{"v":1,"rows":[]}';
export const NONE = "none", AUTO = "auto"; // methods beside those of the catalogue
const VERSION = 1, MOST_CHARACTERS = 1_000_000, MOST_ROWS = 100;

// What a row has where its text does not say, as Add ControlNet does.
export const DEFAULTS = {
  id: "", on: true, net: "", image: 0, method: NONE, params: {}, resolution: 0,
  strength: 1, start: 0, end: 1, mode: "balanced", fit: "crop",
  union_type: AUTO, schedule: "", layers: "", effect_mask: null, inpaint_mask: null,
};
// Of numbers: the least, the largest, and what a click on an arrow adds.
export const RANGES = {
  strength: [0, 10, 0.05], start: [0, 1, 0.05], end: [0, 1, 0.05], resolution: [0, 8192, 64],
};
const TEXTS = ["net", "method", "mode", "fit", "union_type", "schedule", "layers"];
const MASKS = ["effect_mask", "inpaint_mask"];

// What is wrong with a text, as a key of words.js and its values.
export class PanelError extends Error {
  constructor(key, values = {}) {
    super(key);
    this.key = key;
    this.values = values;
  }
}

const isSocket = (value) => Number.isInteger(value) && value >= 0;

const isObject = (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value);

// The panel of a text, {v, rows, …}. Throws PanelError.
export function parse(text) {
  if (!text.trim()) return JSON.parse(EMPTY);
  if (text.length > MOST_CHARACTERS) {
    throw new PanelError("panelTooLong", { most: MOST_CHARACTERS });
  }
  const panel = json(text);
  if (!isObject(panel)) throw new PanelError("panelNotPanel");
  if ((panel.v ?? VERSION) !== VERSION) {
    throw new PanelError("panelVersion", { version: JSON.stringify(panel.v) });
  }
  if (!Array.isArray(panel.rows)) throw new PanelError("panelNotPanel");
  if (panel.rows.length > MOST_ROWS) throw new PanelError("panelTooMany", { most: MOST_ROWS });
  const wrong = panel.rows.findIndex((row) => !isObject(row));
  if (wrong >= 0) throw new PanelError("panelNotRow", { number: wrong + 1 });
  return panel;
}

function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new PanelError("panelNotJson");
  }
}

export const format = (panel) => JSON.stringify(panel);

// A row with every default filled in. Without an id it has the one that the server gives it by its
// place, so that its hint finds it.
export const read = (row, index = null) =>
  ({ ...DEFAULTS, ...(index === null ? {} : { id: `row${index + 1}` }), ...row });

// -- changes: each gives a new panel -------------------------------------------------------------

const withRows = (panel, rows) => ({ ...panel, rows });

const hasId = (row) => typeof row.id === "string" && row.id !== "";

// A short id that no row of the panel has.
export function freshId(rows) {
  const used = new Set(rows.map((row) => row.id));
  let number = 1;
  while (used.has(`a${number}`)) number += 1;
  return `a${number}`;
}

// Rows that each have an id of their own: those that share one, or have none, get a new one.
export function withIds(panel) {
  const seen = new Set(), rows = [];
  for (const row of panel.rows) {
    const isRight = hasId(row) && !seen.has(row.id);
    const id = isRight ? row.id : freshId([...panel.rows, ...rows]);
    seen.add(id);
    rows.push(isRight ? row : { ...row, id });
  }
  return withRows(panel, rows);
}

// Changes some keys of one row.
export function changed(panel, index, changes) {
  const rows = panel.rows.map((row, i) => (i === index ? { ...row, ...changes } : row));
  return withRows(panel, rows);
}

export function added(panel, row) {
  return appended(panel, [row]);
}

// Adds rows at the end, with ids of their own.
export function appended(panel, rows) {
  return withIds(withRows(panel, [...panel.rows, ...rows]));
}

export function removed(panel, index) {
  return withRows(panel, panel.rows.filter((_, i) => i !== index));
}

// A copy right behind the row.
export function duplicated(panel, index) {
  const copy = { ...structuredClone(panel.rows[index]), id: freshId(panel.rows) };
  return withRows(panel, panel.rows.toSpliced(index + 1, 0, copy));
}

// The row `from` stands at `to` afterwards.
export function moved(panel, from, to) {
  const { length } = panel.rows, place = Math.min(Math.max(to, 0), length - 1);
  if (from === place || !panel.rows[from]) return panel;
  return withRows(panel, panel.rows.toSpliced(from, 1).toSpliced(place, 0, panel.rows[from]));
}

// Switches a row off, or on again.
export function muted(panel, index) {
  return changed(panel, index, { on: !isOn(panel.rows[index]) });
}

export const isOn = (row) => (row.on ?? true) === true;

export const isSolo = (panel, index) =>
  panel.rows.length > 1 && panel.rows.every((row, i) => isOn(row) === (i === index));

// Leaves one row on; where it is the only one already, all are on again.
export function solo(panel, index) {
  const isAlone = isSolo(panel, index);
  return withRows(panel, panel.rows.map((row, i) => {
    const on = isAlone || i === index;
    return isOn(row) === on ? row : { ...row, on };
  }));
}

// -- what is wrong with a row --------------------------------------------------------------------

// Marks of a row, [{key, values, isError}] as words.js has them; nothing for what is not known.
// `known`: {table: the server's table of nets, or null; pictures and masks: which sockets are
// connected, {number: whether}; methods: keys of the catalogue; modes, fits: their choices}.
export function marks(row, known) {
  const full = read(row);
  return [
    ...netMarks(full, known.table),
    ...socketMarks(full, known),
    ...valueMarks(full, known),
  ];
}

const mark = (key, values = {}, isError = true) => ({ key, values, isError });

function netMarks({ net }, table) {
  if (typeof net !== "string" || !net) return [mark("rowNoNet")];
  if (!table) return [];
  if (!Object.hasOwn(table.nets, net)) return [mark("rowGone", { file: net })];
  const { fits, is_net: isNet, is } = table.nets[net];
  if (isNet === false) return [mark("rowNotANet", { file: net, is })];
  return fits === false ? [mark("rowOther", { is, base: table.base })] : [];
}

function socketMarks({ image, ...row }, { pictures, masks }) {
  const list = [];
  if (isSocket(image) && !pictures[image]) list.push(mark("rowNoPicture", { number: image }));
  for (const name of MASKS) {
    if (isSocket(row[name]) && !masks[row[name]]) {
      list.push(mark("rowNoMask", { field: name, number: row[name] }));
    }
  }
  return list;
}

function valueMarks(row, known) {
  const wrong = (field) => mark("rowValue", { field, value: short(row[field]) });
  const list = TEXTS.filter((name) => typeof row[name] !== "string").map(wrong);
  for (const [name, [least, most]] of Object.entries(RANGES)) {
    const isRight = Number.isFinite(row[name]) && row[name] >= least && row[name] <= most;
    if (!isRight) list.push(wrong(name));
  }
  if (!isSocket(row.image)) list.push(wrong("image"));
  for (const name of MASKS) {
    if (row[name] !== null && !isSocket(row[name])) list.push(wrong(name));
  }
  const choices = { method: [NONE, AUTO, ...known.methods], mode: known.modes, fit: known.fits };
  for (const [name, names] of Object.entries(choices)) {
    const isListed = names.length === 0 || names.includes(row[name]);
    if (typeof row[name] === "string" && !isListed) list.push(wrong(name));
  }
  if (row.start > row.end) list.push(mark("rowRange", {}, false));
  return list;
}

// A value as a sentence shows it.
export function short(value) {
  const text = JSON.stringify(value) ?? "";
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

// The files that rows name and a table of nets does not have.
export function filesThatAreGone(rows, table) {
  const nets = rows.map(({ net }) => net).filter((net) => typeof net === "string" && net);
  return table ? [...new Set(nets)].filter((net) => !Object.hasOwn(table.nets, net)) : [];
}
