// When and how a hint is drawn anew while a setting is turned. Over `host`, so that it can be tried without a page.

const PREPROCESS = "ControlStackPreprocess";

// What to ask the server for a node's hint, or null where only the queue can tell: {image, method, params, resolution}. A method is its key, or the class of its node.
// `values`: the node's widgets by name; `file`: the picture that a Load Image before it names.
export function question(comfyClass, values, file) {
  const { resolution = 0, method, ...settings } = values;
  const key = comfyClass === PREPROCESS ? method : comfyClass;
  if (!file || !key) return null;
  const prefix = "method.";
  const params = comfyClass !== PREPROCESS ? settings : Object.fromEntries(
    Object.entries(settings).filter(([name]) => name.startsWith(prefix)).map(([name, value]) => [name.slice(prefix.length), value]));
  return { image: file, method: key, params, resolution };
}

// The whole prompt with one node added that asks for the hint of `id`: the host then runs that node and what feeds it,
// and keeps what it knows of the others.
export function promptFor(output, id) {
  const asked = `${id}_hint`;
  return { output: { ...output, [asked]: { class_type: "PreviewImage", inputs: { images: [id, 0] } } }, asked };
}
