// What a graph tells about a control: the sampler's steps, the net's file, the model. Uses only
// `host.source`, `host.targets` and `host.widget`, so that it can be tested without a page.

const MOST_NODES = 500;
const MODEL_FILES = [["ckpt_name", "checkpoints"], ["unet_name", "diffusion_models"]];

// Nodes after `node`, nearest first.
export function downstream(host, node) {
  const nodes = [], seen = new Set([node]);
  for (let layer = [node]; layer.length && seen.size < MOST_NODES;) {
    layer = layer.flatMap((one) => host.targets(one))
      .filter((one) => !seen.has(one) && seen.add(one));
    nodes.push(...layer);
  }
  return nodes;
}

// Steps of the first sampler after `node`, or null.
export function samplerSteps(host, node) {
  for (const one of downstream(host, node)) {
    const steps = value(host, one, "steps") ?? value(host, host.source(one, "sigmas"), "steps");
    if (Number.isInteger(steps) && steps > 0) return steps;
  }
  return null;
}

// Entries of the batch that the first sampler after `node` makes, or null.
export function batchSize(host, node) {
  for (const one of downstream(host, node)) {
    const size = value(host, host.source(one, "latent_image"), "batch_size");
    if (Number.isInteger(size) && size > 1) return size;
  }
  return null;
}

// The file of the net that feeds `node`, or null.
export function netFile(host, node) {
  const name = value(host, host.source(node, "control_net"), "control_net_name");
  return typeof name === "string" ? name : null;
}

// {folder, name} of the base model that `node` or those after it use, or null.
export function baseModel(host, node) {
  for (const one of [node, ...downstream(host, node)]) {
    const file = modelFile(host, one);
    if (file) return file;
  }
  return null;
}

function modelFile(host, node) {
  const seen = new Set();
  let one = host.source(node, "model");
  while (one && !seen.has(one)) {
    seen.add(one);
    for (const [widget, folder] of MODEL_FILES) {
      const name = value(host, one, widget);
      if (typeof name === "string") return { folder, name };
    }
    one = host.source(one, "model");
  }
  return null;
}

function value(host, node, name) {
  return node ? host.widget(node, name)?.value : undefined;
}
