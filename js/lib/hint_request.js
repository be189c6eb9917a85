// What is asked of the server or of ComfyUI's queue when a preprocessor's setting changes.

const PREPROCESS = "ControlStackPreprocess", METHOD = "method";

// The request for a node's hint, {image, method, params, resolution}, or null where only the queue
// can answer. A method is its key, or the class of its node. `values`: the node's widgets by name;
// `file`: the picture of the Load Image node that feeds it.
export function hintRequest(comfyClass, values, file) {
  const { resolution = 0, [METHOD]: chosen, ...settings } = values;
  const method = comfyClass === PREPROCESS ? chosen : comfyClass;
  if (!file || !method) return null;
  const params = comfyClass === PREPROCESS ? withoutPrefix(settings, `${METHOD}.`) : settings;
  return { image: file, method, params, resolution };
}

// The settings whose names begin with `prefix`, without it.
function withoutPrefix(settings, prefix) {
  return Object.fromEntries(Object.entries(settings)
    .filter(([name]) => name.startsWith(prefix))
    .map(([name, value]) => [name.slice(prefix.length), value]));
}

// The whole prompt with one node added that previews the hint of `id`: ComfyUI then runs that node
// and its inputs, and leaves the cached results of the other nodes alone.
export function promptFor(output, id) {
  const target = `${id}_hint`;
  const preview = { class_type: "PreviewImage", inputs: { images: [id, 0] } };
  return { output: { ...output, [target]: preview }, target };
}
