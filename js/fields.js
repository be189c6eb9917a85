// Which text inputs are drawn, and the widgets that draw them.

import { chain } from "./host.js";
import { netFile, samplerSteps } from "./lib/reading.js";
import { layersField } from "./widgets/bars.js";
import { scheduleField } from "./widgets/curve.js";

// Node → input → the widget's type. The values stay the host's plain STRING.
export const FIELDS = { ControlStackAdd: { schedule: "CONTROLSTACK_SCHEDULE", layers: "CONTROLSTACK_LAYERS" } };
const OPEN = "controlstack_open"; // the node's property that remembers which fields are open

export function fieldWidgets(host, nets) {
  return {
    CONTROLSTACK_SCHEDULE: fieldWidget(host, (services) => scheduleField(services)),
    CONTROLSTACK_LAYERS: fieldWidget(host, (services) => layersField(services), nets),
  };
}

const FRESH_MS = 250; // how long what was read from the graph is taken as it was: a drag asks many times a frame

const said = new Set(); // fields whose failure was told
const shown = new Set(); // fields of nodes that are in a graph
let redrawing = 0;

// After a change of the graph, when it has come to rest: ticks and numbers of blocks follow it.
export function redrawFields() {
  clearTimeout(redrawing);
  redrawing = setTimeout(() => { for (const field of shown) if (field.open) field.draw(); }, FRESH_MS + 50);
}

function fieldWidget(host, makeField, nets) {
  return (node, name, spec) => {
    const fallback = spec[1]?.default ?? "";
    try {
      return { widget: added(host, node, name, makeField, nets, fallback) };
    } catch (error) {
      if (!said.has(name)) console.error(`ControlStack: '${name}' is shown as plain text, because its widget failed`, error);
      said.add(name);
      return { widget: node.addWidget("text", name, fallback, () => {}) };
    }
  };
}

function added(host, node, name, makeField, nets, text) {
  let widget = null, soon = 0;
  const field = makeField({
    label: () => widget?.label ?? name,
    say: host.say,
    changed: () => widget?.callback?.(field.text),
    settled: ({ soon: isSoon = false } = {}) => {
      clearTimeout(soon);
      if (isSoon) soon = setTimeout(() => host.captureUndo(), 500);
      else host.captureUndo();
    },
    resized: (byPx) => widget && host.refit(node, byPx),
    setOpen: (open) => remember(node, name, open),
    forward: (element) => host.forward(element),
    steps: briefly(() => samplerSteps(host, node)),
    blocks: briefly(() => nets?.blocks(netFile(host, node)) ?? null),
    range: () => ["start_percent", "end_percent"].map((input, end) => {
      const value = host.widget(node, input)?.value;
      return typeof value === "number" ? value : end;
    }),
  });
  field.setText(text);
  widget = host.addTextWidget(node, name, `controlstack_${name}`, field);
  queueMicrotask(() => field.draw()); // the page gives the widget its translated label only now
  chain(node, "onAdded", () => shown.add(field));
  chain(node, "onRemoved", () => shown.delete(field));
  chain(node, "onConfigure", () => field.setOpen(isOpen(node, name)));
  return widget;
}

function briefly(read) {
  let value = null, until = 0;
  return () => {
    if (performance.now() > until) [value, until] = [read(), performance.now() + FRESH_MS];
    return value;
  };
}

const opened = (node) => String(node.properties?.[OPEN] ?? "").split(" ").filter(Boolean);

const isOpen = (node, name) => opened(node).includes(name);

function remember(node, name, open) {
  const others = opened(node).filter((other) => other !== name);
  node.setProperty(OPEN, [...others, ...(open ? [name] : [])].join(" "));
}
