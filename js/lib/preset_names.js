// Names of presets, and the files that they are stored in. A name is one file in one folder: what
// could lead out of it, or cannot be a file's name somewhere, is refused.

export const FOLDER = "controlstack/presets";
const ENDING = ".json", MOST_CHARACTERS = 80;
// Signs that file systems refuse, and those that cannot be seen.
const REFUSED = new RegExp('[/\\\\:*?"<>|%\\u0000-\\u001f\\u007f-\\u009f'
  + "\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff]");
const DEVICES = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

// What cannot be done, as a key of words.js and its values.
export class PresetError extends Error {
  constructor(key, values = {}) {
    super(key);
    this.key = key;
    this.values = values;
  }
}

export const PROBLEMS = ["presetNoName", "presetBadName", "presetLongName"];

// What is wrong with a name, as one of PROBLEMS, or "".
export function problem(name) {
  const [none, bad, long] = PROBLEMS;
  if (!name.trim()) return none;
  const isBad = name !== name.trim() || name.startsWith(".") || name.endsWith(".")
    || REFUSED.test(name) || DEVICES.test(name) || !name.isWellFormed();
  if (isBad) return bad;
  return name.length > MOST_CHARACTERS ? long : "";
}

// The file of a preset, as ComfyUI's user folder names it. Throws RangeError for a bad name.
export function fileOf(name) {
  if (problem(name)) throw new RangeError(`not a preset's name: ${JSON.stringify(name)}`);
  return `${FOLDER}/${name}${ENDING}`;
}

// The names of the presets among the files that lie in the folder, in order.
export function namesOf(files) {
  const names = files.map((file) => String(file.path ?? file))
    .filter((path) => path.endsWith(ENDING)).map((path) => path.slice(0, -ENDING.length));
  return names.filter((name) => !problem(name)).sort((a, b) => a.localeCompare(b));
}

// A name like `wanted` that no preset has yet; what cannot stand in a name is left out.
export function unusedName(wanted, names) {
  const bare = wanted.replace(new RegExp(`${ENDING}$`, "i"), "");
  const legal = bare.split("").filter((sign) => !REFUSED.test(sign)).join("");
  const clean = legal.replace(/^[.\s]+/, "").slice(0, MOST_CHARACTERS - 8).replace(/[.\s]+$/, "");
  const first = problem(clean) ? "preset" : clean;
  let name = first;
  for (let number = 2; names.includes(name); number += 1) name = `${first} ${number}`;
  return name;
}
