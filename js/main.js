// The one registration. What fails in a room is said once and leaves the host's page as it is.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { FIELDS, fieldWidgets, redrawFields } from "./fields.js";
import { Host } from "./host.js";
import { LIVE, Live } from "./live.js";
import { FILTER, Nets } from "./nets.js";
import { Remarks } from "./remarks.js";
import { Tooltips } from "./tooltips.js";

const host = new Host(app, api);
const nets = new Nets(host, redrawFields);
const live = new Live(host);
const tooltips = new Tooltips(host);
const told = new Set();
new Remarks(host);

document.head.append(Object.assign(document.createElement("link"), {
  rel: "stylesheet", href: new URL("./style.css", import.meta.url).href,
}));

function guarded(name, work) {
  return (...args) => {
    try {
      return work(...args);
    } catch (error) {
      if (!told.has(name)) console.error(`ControlStack: ${name} failed`, error);
      told.add(name);
    }
  };
}

const follow = guarded("following the graph", () => {
  nets.soon();
  redrawFields();
});

app.registerExtension({
  name: "ControlStack",

  settings: [
    {
      id: LIVE, name: "Live hints", category: ["ControlStack", "Hints", "Live hints"], type: "boolean", defaultValue: false,
      tooltip: "Turning a setting of a preprocessing node draws its hint anew, without running the rest of the workflow.",
    },
    {
      id: FILTER, name: "List only ControlNets that fit", category: ["ControlStack", "Nets", "List only ControlNets that fit"],
      type: "boolean", defaultValue: true, onChange: () => nets.soon(),
      tooltip: "Load ControlNet (Stack) leaves out nets of other model families than the connected model's.",
    },
  ],

  getCustomWidgets: () => fieldWidgets(host, nets),

  // The host declares plain texts, so that everything works without this page; here they get their widgets.
  beforeRegisterNodeDef: guarded("drawing of text inputs", (nodeType, nodeData) => {
    for (const [input, type] of Object.entries(FIELDS[nodeData.name] ?? {})) {
      const declared = nodeData.input?.required?.[input] ?? nodeData.input?.optional?.[input];
      if (declared) declared[1] = { ...declared[1], widgetType: type };
    }
    tooltips.declare(nodeData.name, nodeData.input);
  }),

  setup: async () => {
    guarded("watching the graph", () => host.onGraphChange(follow))();
    await guarded("tooltips", () => tooltips.load().catch((error) => console.warn("ControlStack: tooltips stay English", error)))();
  },
  afterConfigureGraph: follow, // a workflow that was opened is not a change
  nodeCreated: (node) => {
    guarded("tooltips", () => tooltips.watch(node))();
    guarded("live hints", () => live.isOurs(node) && live.watch(node))();
  },
  loadedGraphNode: guarded("comparing", (node) => live.isOurs(node) && live.restore(node)),
  getNodeMenuItems: (node) => guarded("menu", () => live.menu(node))() ?? [],
});
