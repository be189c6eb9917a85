// Tooltips of the settings that a method brings. ComfyUI's key for such a setting,
// `nodeDefs.NODE.inputs.method_NAME`, does not name the method: settings of one name would share
// one text, whichever method is chosen. Older frontends show none without that key. Here each shows
// its method's own text, or the translation that the node of its own has.

import { labelsOf } from "./lib/sentences.js";

// The nodes whose inputs sentences name.
const NAMED = ["ControlStackAdd", "ControlStackApply", "ControlStackPanel"];
const DYNAMIC = "COMFY_DYNAMICCOMBO_V3";
const OURS = "ControlStack";

const inputs = (declared) => Object.entries({ ...declared?.required, ...declared?.optional });

export class Tooltips {
  constructor(host) {
    this.host = host;
    this.nodes = new Map(); // node id → its declared inputs
    this.translations = {}; // node id → its texts in the language of the page
  }

  // Remember a node's declaration, when it is registered.
  declare(id, declared) {
    if (id.startsWith(OURS)) this.nodes.set(id, declared);
  }

  // Fetch the translations; English needs none.
  async load() {
    const language = this.host.setting("Comfy.Locale");
    if (!language || language === "en") return;
    this.translations = (await this.host.translations())[language]?.nodeDefs ?? {};
    this.host.labels = labelsOf(this.translations, NAMED);
  }

  // Give every setting of the node that a choice brings its tooltip, now and whenever the choice
  // changes.
  watch(node) {
    const declared = this.nodes.get(this.host.comfyClass(node));
    const combos = new Map(inputs(declared).filter(([, [type]]) => type === DYNAMIC));
    if (!combos.size) return;
    const describe = (widget) => {
      const [combo, name] = widget?.name?.split(".") ?? [];
      if (!name || !combos.has(combo)) return;
      const get = () => this.text(combos.get(combo), this.host.widget(node, combo)?.value, name);
      // The frontend writes the English text to the widget, so this ignores writes.
      const tooltip = { configurable: true, enumerable: true, get, set() {} };
      Object.defineProperty(widget, "tooltip", tooltip);
    };
    node.widgets?.forEach(describe);
    const add = node.addCustomWidget;
    node.addCustomWidget = function (...args) {
      const widget = add.apply(this, args);
      describe(widget);
      return widget;
    };
  }

  text([, { options = [] }], choice, name) {
    const chosen = options.find((option) => option.key === choice);
    const own = inputs(chosen?.inputs).find(([input]) => input === name)?.[1][1]?.tooltip;
    return own && (this.translated(name, own) ?? own);
  }

  // How nodes name an input in the language of the page; null where that is English.
  label(input, ids) {
    const texts = ids.map((id) => this.translations[id]?.inputs?.[input]?.name);
    return texts.find(Boolean) ?? null;
  }

  // The translation of another node's setting that has the same name and the same text.
  translated(name, text) {
    for (const [id, declared] of this.nodes) {
      const isIt = inputs(declared)
        .some(([input, [, options]]) => input === name && options?.tooltip === text);
      const translation = isIt && this.translations[id]?.inputs?.[name]?.tooltip;
      if (translation) return translation;
    }
    return undefined;
  }
}
