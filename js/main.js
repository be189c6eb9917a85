// The one registration. Errors in one feature are logged once and never break ComfyUI's page.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { Canvases } from "./canvas.js";
import { FIELDS, fieldWidgets, redrawFields } from "./fields.js";
import { Host } from "./host.js";
import { LIVE, LiveHints } from "./live_hints.js";
import { Mounting } from "./mounting.js";
import { FILTER, NetLists } from "./net_lists.js";
import { NetBars } from "./net_bars.js";
import { Panels } from "./panel.js";
import { Promoted } from "./promoted.js";
import { Remarks } from "./remarks.js";
import { StackType } from "./stack_type.js";
import { Tooltips } from "./tooltips.js";

const host = new Host(app, api);
const mounting = new Mounting(host);
const nets = new NetLists(host, redrawFields, (node, isEmpty) => remarks.needsNet(node, isEmpty));
const live = new LiveHints(host, () => mounting.soon());
const tooltips = new Tooltips(host);
const reported = new Set();
const [, pack] = /\/extensions\/([^/]+)\//.exec(import.meta.url) ?? [];
const remarks = new Remarks(host, decodeURIComponent(pack ?? ""), () => mounting.soon());
const contradiction = (node) => remarks.contradiction(node);
const bars = new NetBars(host, contradiction, () => mounting.soon());
const stackType = new StackType(host);
const panels = new Panels(host, nets, tooltips);
const canvases = new Canvases(host, mounting);
const promoted = new Promoted(host, nets, mounting, panels, canvases);
let restoreTimer = 0;

document.head.append(Object.assign(document.createElement("link"), {
  rel: "stylesheet", href: new URL("./style.css", import.meta.url).href,
}));

const RESTORE_MS = 100; // after the frontend has built a graph

function guarded(name, work) {
  return (...args) => {
    try {
      return work(...args);
    } catch (error) {
      if (!reported.has(name)) console.error(`ControlStack: ${name} failed`, error);
      reported.add(name);
    }
  };
}

const follow = guarded("following the graph", () => {
  nets.soon();
  redrawFields();
  guarded("canvases", () => canvases.refresh())();
  mounting.soon();
  stackType.apply();
  promoted.try();
  clearTimeout(restoreTimer);
  restoreTimer = setTimeout(() => {
    guarded("what nodes say", () => remarks.restore())();
    guarded("what nets did", () => bars.restore())();
    promoted.try();
  }, RESTORE_MS);
});

const SETTINGS = [
  {
    id: LIVE,
    name: "Live hints",
    category: ["ControlStack", "Hints", "Live hints"],
    type: "boolean",
    defaultValue: false,
    // Older frontends call this before they store the value.
    onChange: () => queueMicrotask(guarded("live hints", () => live.settingChanged())),
    tooltip: "Updates a preprocessor's hint as soon as one of its settings changes, without running"
      + " the rest of the workflow. The switch under a hint overrides this for its node.",
  },
  {
    id: FILTER,
    name: "List only ControlNets that fit",
    category: ["ControlStack", "Nets", "List only ControlNets that fit"],
    type: "boolean",
    defaultValue: true,
    onChange: () => nets.soon(),
    tooltip: "Load ControlNet hides ControlNets that do not fit the connected model.",
  },
];

app.registerExtension({
  name: "ControlStack",
  settings: SETTINGS,
  getCustomWidgets: () => (
    { ...fieldWidgets(host, nets, mounting, panels), ...canvases.widgets }),

  // Python declares plain texts, so that everything works without this script; here they get their
  // widgets.
  beforeRegisterNodeDef: guarded("drawing of text inputs", (nodeType, nodeData) => {
    for (const [input, type] of Object.entries(FIELDS[nodeData.name] ?? {})) {
      const declared = nodeData.input?.required?.[input] ?? nodeData.input?.optional?.[input];
      if (declared) declared[1] = { ...declared[1], widgetType: type };
    }
    canvases.declare(nodeData);
    tooltips.declare(nodeData.name, nodeData.input);
  }),

  setup: async () => {
    guarded("watching the graph", () => {
      host.onGraphChange(follow);
      host.onShown(() => mounting.soon());
    })();
    guarded("the stack's colour", () => {
      stackType.apply();
      host.onPalette(() => setTimeout(() => stackType.apply(), RESTORE_MS));
    })();
    await guarded("tooltips", () => tooltips.load().catch(
      (error) => console.warn("ControlStack: tooltips stay English", error)))();
  },
  beforeConfigureGraph: () => { host.isLoading = true; },
  // Opening a workflow does not count as a change.
  afterConfigureGraph: () => {
    host.isLoading = false;
    follow();
  },
  nodeCreated: (node) => {
    guarded("tooltips", () => tooltips.watch(node))();
    guarded("canvases", () => canvases.created(node))();
    const name = guarded("placeholders", () => host.namePlaceholders(node));
    if (remarks.isOurs(node)) setTimeout(name);
    guarded("remarks", () => remarks.watch(node))();
    guarded("bars", () => bars.watch(node))();
    guarded("live hints", () => live.isOurs(node) && live.watch(node))();
    guarded("panels", () => panels.watch(node))();
  },
  refreshComboInNodes: guarded("the lists of nets", () => nets.refresh()),
  getNodeMenuItems: (node) => guarded("menu", () => live.menu(node))() ?? [],
});
