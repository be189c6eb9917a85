// What a graph says about a control: the sampler's steps, the net's file, the model. Over `host.source`, `host.targets`
// and `host.widget`, so that it can be tried without a page.

const MOST_NODES = 500;
const MODEL_FILES = [["ckpt_name", "checkpoints"], ["unet_name", "diffusion_models"]];

// Nodes after `node`, nearest first.
export function downstream(host, node) {
  const found = [], seen = new Set([node]);
  for (let layer = [node]; layer.length && seen.size < MOST_NODES;) {
    layer = layer.flatMap((one) => host.targets(one)).filter((one) => !seen.has(one) && seen.add(one));
    found.push(...layer);
  }
  return found;
}

// Steps of the first sampler after `node`, or null.
export function samplerSteps(host, node) {
  for (const one of downstream(host, node)) {
    const steps = value(host, one, "steps") ?? value(host, host.source(one, "sigmas"), "steps");
    if (Number.isInteger(steps) && steps > 0) return steps;
  }
  return null;
}

// The file of the net that feeds `node`, or null.
export function netFile(host, node) {
  const name = value(host, host.source(node, "control_net"), "control_net_name");
  return typeof name === "string" ? name : null;
}

// {folder, name} of the base model on which what comes after `node` acts, or null.
export function baseModel(host, node) {
  for (const one of downstream(host, node)) {
    const loader = modelLoader(host, one);
    if (loader) return loader;
  }
  return null;
}

function modelLoader(host, node) {
  const seen = new Set();
  for (let one = host.source(node, "model"); one && !seen.has(one); one = host.source(one, "model")) {
    seen.add(one);
    for (const [widget, folder] of MODEL_FILES) {
      const name = value(host, one, widget);
      if (typeof name === "string") return { folder, name };
    }
  }
  return null;
}

function value(host, node, name) {
  return node ? host.widget(node, name)?.value : undefined;
}
