// The one registration. Errors in one feature are logged once and never break ComfyUI's page.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { FIELDS, fieldWidgets, redrawFields } from "./fields.js";
import { Host } from "./host.js";
import { LIVE, LiveHints } from "./live_hints.js";
import { FILTER, NetLists } from "./net_lists.js";
import { Remarks } from "./remarks.js";
import { Tooltips } from "./tooltips.js";

const host = new Host(app, api);
const nets = new NetLists(host, redrawFields);
const live = new LiveHints(host);
const tooltips = new Tooltips(host);
const reported = new Set();
new Remarks(host);

document.head.append(Object.assign(document.createElement("link"), {
  rel: "stylesheet", href: new URL("./style.css", import.meta.url).href,
}));

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
});

const SETTINGS = [
  {
    id: LIVE,
    name: "Live hints",
    category: ["ControlStack", "Hints", "Live hints"],
    type: "boolean",
    defaultValue: false,
    tooltip: "Updates a preprocessor's hint as soon as one of its settings changes, without running"
      + " the rest of the workflow.",
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
  getCustomWidgets: () => fieldWidgets(host, nets),

  // Python declares plain texts, so that everything works without this script; here they get their
  // widgets.
  beforeRegisterNodeDef: guarded("drawing of text inputs", (nodeType, nodeData) => {
    for (const [input, type] of Object.entries(FIELDS[nodeData.name] ?? {})) {
      const declared = nodeData.input?.required?.[input] ?? nodeData.input?.optional?.[input];
      if (declared) declared[1] = { ...declared[1], widgetType: type };
    }
    tooltips.declare(nodeData.name, nodeData.input);
  }),

  setup: async () => {
    guarded("watching the graph", () => host.onGraphChange(follow))();
    await guarded("tooltips", () => tooltips.load().catch(
      (error) => console.warn("ControlStack: tooltips stay English", error)))();
  },
  afterConfigureGraph: follow, // opening a workflow does not count as a change
  nodeCreated: (node) => {
    guarded("tooltips", () => tooltips.watch(node))();
    guarded("live hints", () => live.isOurs(node) && live.watch(node))();
  },
  loadedGraphNode: guarded("comparing", (node) => live.isOurs(node) && live.restore(node)),
  getNodeMenuItems: (node) => guarded("menu", () => live.menu(node))() ?? [],
});
