// The preprocessors and their settings, as the declaration of Preprocessor (any) tells them.

const METHOD = "method";

// The settings of each method, {KEY: [{name, kind, default, choices, min, max, step, tooltip}]}.
// `declared`: the node's inputs as /object_info has them.
export function methodsOf(declared) {
  const [, { options = [] } = {}] = declared?.required?.[METHOD] ?? [];
  return Object.fromEntries(options.map(({ key, inputs }) => [key, settingsOf(inputs)]));
}

function settingsOf(inputs) {
  const all = Object.entries({ ...inputs?.required, ...inputs?.optional });
  return all.map(([name, [type, options = {}]]) => {
    const { default: value, min, max, step, tooltip = "" } = options;
    const choices = Array.isArray(type) ? type : options.options ?? null;
    const kind = choices ? "COMBO" : type;
    return { name, kind, default: value ?? choices?.[0], choices, min, max, step, tooltip };
  });
}

// The choices of one input of a node, [] where it has none.
export function choicesOf(declared, input) {
  const [type, options = {}] = declared?.required?.[input] ?? declared?.optional?.[input] ?? [];
  return Array.isArray(type) ? type : options.options ?? [];
}
