// The one registration. Each room below is tried on its own: what fails there is said once and leaves the host's page,
// and the plain text widgets, as they are.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { Host } from "./host.js";
import { FIELDS, fieldWidgets } from "./fields.js";

const host = new Host(app, api);

document.head.append(Object.assign(document.createElement("link"), {
  rel: "stylesheet", href: new URL("./style.css", import.meta.url).href,
}));

app.registerExtension({
  name: "ControlStack",

  getCustomWidgets: () => fieldWidgets(host),

  // The host declares plain texts, so that everything works without this page; here they get their widgets.
  beforeRegisterNodeDef(nodeType, nodeData) {
    for (const [input, type] of Object.entries(FIELDS[nodeData.name] ?? {})) {
      const declared = nodeData.input?.required?.[input] ?? nodeData.input?.optional?.[input];
      if (declared) declared[1] = { ...declared[1], widgetType: type };
    }
  },
});
