// How the page read the workflow that is open: types it lacks, the prompt it would queue, the
// file it would save.
export const look = (page) =>
  page.evaluate(async () => {
    const nodes = window.app.graph.nodes ?? window.app.graph._nodes;
    const lacking = (node) => !(node.type in window.LiteGraph.registered_node_types);
    return {
      missing: nodes
        .filter((node) => lacking(node) && !node.isVirtualNode)
        .map((node) => node.type),
      red: nodes.filter((node) => node.has_errors).map((node) => node.title),
      vue: Boolean(window.LiteGraph.vueNodesMode),
      prompt: (await window.app.graphToPrompt()).output,
      saved: window.app.graph.serialize(),
      overlaps: nodes.flatMap((a, i) =>
        nodes
          .slice(i + 1)
          .filter((b) => {
            const [ax, ay, aw, ah] = a.getBounding(),
              [bx, by, bw, bh] = b.getBounding();
            return ax < bx + bw && bx < ax + aw && ay < by + bh && by < ay + ah;
          })
          .map((b) => [a.title, b.title]),
      ),
    };
  });
