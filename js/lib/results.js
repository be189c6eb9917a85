// What a node says of what its net did, or will not do. Pure: texts and widths.

import { parse as parseLayers, weights } from "./layers.js";
import { parse as parseSchedule, parseFrames } from "./schedule.js";
import { english } from "./words.js";

const MOST_BLOCKS = 13;
const NET = "control_net_name";
// The words for why a net does nothing: the server's reasons, and those of settings.
export const IDLE = [
  "idle_strength", "idle_schedule", "idle_frames", "idle_mask", "idle_layers", "idle_range",
  "idle_instant", "idle_never", "idle_zero",
];

// The bar of a net after a run: {text, fill: 0..1 or null, isIdle}. `net` is one of the server's
// results: {share, size, is_relative, reason}.
export function bar(net, say) {
  if (net.reason) return { text: say(`idle_${net.reason}`), fill: null, isIdle: true };
  const words = [];
  if (net.share !== null) words.push(say("shareOfStep", { percent: Math.round(net.share * 100) }));
  const size = net.size === null ? "" : show(net.size);
  if (size) words.push(say(net.is_relative ? "addedPart" : "added", { size }));
  const fill = net.share === null ? null : Math.min(1, Math.max(0, net.share));
  return { text: words.join(" · "), fill, isIdle: false };
}

// Three digits, as the report writes them.
function show(size) {
  return size < 10 ? size.toFixed(3) : String(Number(size.toPrecision(4)));
}

// Why a unit of these settings will never act, as a key of its words, or "". `values`: by input,
// without those that come over wires.
export function contradiction({ strength, start_percent: start, end_percent: end, ...texts }) {
  if (strength === 0) return "idle_strength";
  if (start > end) return "idle_range";
  if (start !== undefined && start === end) return "idle_instant";
  if (isZero(texts.schedule, parseSchedule)) return "idle_schedule";
  if (isZero(texts.frame_strength, parseFrames)) return "idle_frames";
  return isZeroLayers(texts.layers) ? "idle_layers" : "";
}

function isZero(text, parse) {
  const points = parsed(text, parse)?.points ?? [];
  return points.length > 0 && points.every((point) => point.strength === 0);
}

function isZeroLayers(text) {
  const layers = parsed(text, parseLayers);
  if (!layers) return false;
  return !weights(layers, Math.max(MOST_BLOCKS, layers.values.length)).some(Boolean);
}

// null for what does not parse: its field says so itself.
function parsed(text, parse) {
  try {
    return typeof text === "string" ? parse(text) : null;
  } catch {
    return null;
  }
}

// The errors of a refused node without those that ComfyUI repeats, with the same sentence, for
// inputs that are right: a sentence of ours begins with its input's name.
export function withoutRepeats(errors) {
  const isOwn = ({ details = "", extra_info: more }) => {
    const name = more?.input_name, prefix = `${name} - `;
    if (!name || !details.startsWith(prefix)) return true;
    return sentences(details.slice(prefix.length)).some((one) => isAbout(name, one));
  };
  const own = errors.filter(isOwn);
  return own.length ? own : errors;
}

// The sentences of a refused node, each once. `errors` as the server gives them; where it names
// every input that a check looks at, the sentence is the same.
export function refusals(errors, say = english) {
  const all = errors.flatMap(({ type, message = "", details = "", extra_info: more }) => {
    if (type === "value_not_in_list" && more?.input_name === NET) {
      return [say("missingNet", { file: more.received_value })];
    }
    const cut = details.indexOf(" - ");
    if (cut >= 0 && details.slice(0, cut) === more?.input_name) {
      return sentences(details.slice(cut + 3));
    }
    return [[message, details].filter(Boolean).join(": ")];
  });
  return [...new Set(all)];
}

// Whether a sentence of ours is about an input: it begins with its name.
export const isAbout = (name, sentence) => sentence.startsWith(`${name}: `);

// One text with the sentences of several inputs.
const sentences = (text) => text.split(/(?<=\.) (?=[a-z_]+: )/);
