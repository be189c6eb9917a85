// Which text inputs are shown as pictures, and the widgets that draw them.

import { chain } from "./host.js";
import { EXAMPLES } from "./lib/grammar.js";
import { batchSize, netFile, samplerSteps } from "./lib/graph.js";
import { layersField } from "./widgets/bars_editor.js";
import { scheduleField } from "./widgets/curve_editor.js";
import { framesField } from "./widgets/frame_editor.js";
import { PanelEditor } from "./widgets/panel_editor.js";
import { unionField } from "./widgets/union_editor.js";

// Node → input → the widget's type. The values stay ComfyUI's plain STRING.
export const FIELDS = {
  ControlStackAdd: {
    schedule: "CONTROLSTACK_SCHEDULE", layers: "CONTROLSTACK_LAYERS",
    union_type: "CONTROLSTACK_UNION_TYPE", frame_strength: "CONTROLSTACK_FRAME_STRENGTH",
  },
  ControlStackPanel: { rows: "CONTROLSTACK_ROWS" },
};
// Input → what makes its field.
const MAKERS = {
  schedule: scheduleField, layers: layersField, union_type: unionField, frame_strength: framesField,
  rows: (services) => new PanelEditor(services),
};
const OPEN = "controlstack_open"; // the node's property that stores which fields are open
const FRESH_MS = 250; // how long a value read from the graph is reused: a drag reads it every frame
const UNDO_MS = 500; // how long keys are collected into one step of undo

// The constructors of our widgets, by type. `nets` knows how many blocks a net has; `panels` what
// a panel needs beside a field's services.
export function fieldWidgets(host, nets, mounting, panels) {
  const rows = Object.values(FIELDS).flatMap((inputs) => Object.entries(inputs));
  return Object.fromEntries(rows.map(([input, type]) =>
    [type, fieldWidget({ host, nets, mounting, panels }, MAKERS[input])]));
}

const reported = new Set(); // inputs whose failure was logged
const fieldsInGraph = new Set();
let redrawTimer = 0;

// Redraws once the graph has stopped changing: ticks and numbers of blocks follow it.
export function redrawFields() {
  clearTimeout(redrawTimer);
  redrawTimer = setTimeout(() => {
    for (const field of fieldsInGraph) field.draw();
  }, FRESH_MS + 50);
}

function fieldWidget(page, makeField) {
  return (node, name, spec) => {
    const text = spec[1]?.default ?? "";
    try {
      return { widget: addField(page, node, name, makeField, text) };
    } catch (error) {
      const message = `ControlStack: '${name}' is shown as plain text, because its widget failed`;
      if (!reported.has(name)) console.error(message, error);
      reported.add(name);
      return { widget: node.addWidget("text", name, text, () => {}) };
    }
  };
}

function addField({ host, nets, mounting, panels }, node, name, makeField, text) {
  let widget = null;
  const ofPanel = name === "rows" ? panels.services(node) : {};
  const field = makeField({
    label: () => widget?.label ?? name,
    example: EXAMPLES[name],
    say: host.say,
    translated: (sentence) => host.translated(sentence),
    isWired: () => host.isWired(node, name),
    changed: () => widget?.callback?.(field.text),
    settled: undoCapture(host),
    resized: (byPx) => {
      if (widget) host.refit(node, byPx);
      mounting.soon();
    },
    setOpen: (open) => storeOpen(node, name, open),
    forward: (element) => host.forward(element),
    ...graphReaders(host, node, nets),
    ...ofPanel,
  });
  field.setText(text);
  widget = host.addTextWidget(node, name, `controlstack_${name}`, field);
  widget.controlstack = field;
  queueMicrotask(() => field.draw()); // the frontend sets the widget's translated label only now
  chain(node, "onAdded", () => fieldsInGraph.add(field));
  chain(node, "onRemoved", () => fieldsInGraph.delete(field));
  chain(node, "onConfigure", () => field.setOpen(isOpen(node, name)));
  return widget;
}

// The field of a text that a subgraph shows on its node. `source` holds the value.
export function promotedField({ host, nets, mounting, panels }, { node, input, name, source }) {
  const makeField = MAKERS[name];
  const slot = () => node.inputs.indexOf(input);
  const field = makeField({
    label: () => input.label ?? input.name,
    example: EXAMPLES[name],
    say: host.say,
    translated: (sentence) => host.translated(sentence),
    isWired: () => node.isInputConnected(slot()),
    changed: () => { source.value = field.text; },
    settled: undoCapture(host),
    resized: (byPx) => {
      host.refit(node, byPx);
      mounting.soon();
    },
    setOpen: (open) => storeOpen(node, input.name, open),
    forward: (element) => host.forward(element),
    steps: () => null,
    blocks: () => null,
    depth: () => "unet",
    frames: () => null,
    union: () => nets.union(null),
    range: () => [0, 1],
    ...(name === "rows" ? panels.promoted(node) : {}),
  });
  field.setText(source.value);
  field.setOpen(isOpen(node, input.name));
  const view = {
    element: field.element,
    get height() { return field.height; },
    get open() { return field.open; },
    get text() { return String(source.value ?? ""); },
    setText: (value) => {
      source.value = value;
      field.setText(value);
    },
  };
  const widget = host.addPromoted(node, input, `controlstack_${name}`, view);
  fieldsInGraph.add(field);
  chain(widget, "onRemove", () => fieldsInGraph.delete(field));
  return { widget, field };
}

// Ends a step of undo: at once, or `soon`, after the last of several keys.
function undoCapture(host) {
  let timer = 0;
  return ({ soon = false } = {}) => {
    clearTimeout(timer);
    if (soon) timer = setTimeout(() => host.captureUndo(), UNDO_MS);
    else host.captureUndo();
  };
}

// What a field reads from the graph around its node; null where the graph does not tell.
function graphReaders(host, node, nets) {
  const number = (name, fallback) => {
    const value = host.widget(node, name)?.value;
    return typeof value === "number" ? value : fallback;
  };
  return {
    steps: cached(() => samplerSteps(host, node)),
    blocks: cached(() => nets.blocks(netFile(host, node))),
    depth: cached(() => nets.depth(netFile(host, node))),
    frames: cached(() => batchSize(host, node)),
    union: cached(() => nets.union(netFile(host, node))),
    range: () => [number("start_percent", 0), number("end_percent", 1)],
  };
}

function cached(read) {
  let value = null, until = 0;
  return () => {
    if (performance.now() > until) [value, until] = [read(), performance.now() + FRESH_MS];
    return value;
  };
}

// Which parts of a widget are open, by name.
export function openFields(node) {
  return String(node.properties?.[OPEN] ?? "").split(" ").filter(Boolean);
}

function isOpen(node, name) {
  return openFields(node).includes(name);
}

export function storeOpen(node, name, open) {
  const others = openFields(node).filter((other) => other !== name);
  node.setProperty(OPEN, [...others, ...(open ? [name] : [])].join(" "));
}
