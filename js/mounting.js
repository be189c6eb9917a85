// Nodes 2.0 puts a widget's element into the page once, when it first shows a node of that id.
// Undo, tabs and subgraphs build other nodes under the same ids: the page would go on showing the
// elements of the former nodes, and what is typed there would be lost. Here the elements of the
// present nodes take their places. It also gives the height that a node has left to open plots
// alone.

const FRAMES = 2, LATER_MS = 300; // when the frontend has built the nodes; once more for slow pages
const OFTEN_MS = 1000;
const ROWS = "--controlstack-rows";

export class Mounting {
  constructor(host) {
    this.host = host;
    this.timer = 0;
    this.isWaiting = false;
    setInterval(() => this.run(), OFTEN_MS); // for what is built later still, as on a slow machine
  }

  // Looks once the frontend has drawn, and again later.
  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.run(), LATER_MS);
    if (this.isWaiting) return;
    this.isWaiting = true;
    const wait = (frames) => requestAnimationFrame(() => {
      if (frames > 1) return wait(frames - 1);
      this.isWaiting = false;
      this.run();
    });
    wait(FRAMES);
  }

  run() {
    if (!this.host.isNodes2) return;
    for (const node of this.host.shownNodes) {
      const ours = (node.widgets ?? []).filter((widget) => widget.element?.dataset?.controlstack);
      if (!ours.length) continue;
      const frame = document.querySelector(`[data-node-id="${CSS.escape(String(node.id))}"]`);
      if (!frame) continue;
      for (const widget of ours) {
        if (frame.contains(widget.element)) continue;
        place(frame, node, widget)?.replaceChildren(widget.element);
      }
      shareHeight(frame);
    }
  }
}

// Where a widget belongs in its node's frame: where another element of its name is, else its row.
function place(frame, node, widget) {
  const name = CSS.escape(widget.name);
  const stale = frame.querySelector(`[data-controlstack="${name}"]`);
  if (stale) return stale.parentElement;
  const named = frame.querySelector(`[data-widget-name="${name}"]`);
  if (named) return emptyPlace(named);
  const isHidden = ({ hidden, options }) => hidden || options?.hidden || options?.canvasOnly;
  const shown = node.widgets.filter((one) => !isHidden(one));
  const rows = frame.querySelectorAll(".lg-node-widget");
  return rows.length === shown.length ? emptyPlace(rows[shown.indexOf(widget)]) : null;
}

// The element of a row that waits for a widget's element.
function emptyPlace(row) {
  const empty = [...row.querySelectorAll("div.flex-col")].find((one) => !one.childElementCount);
  return empty ?? row.querySelector("canvas")?.parentElement ?? null;
}

// The grid's rows as the frontend made them, but only open plots of ours grow.
function shareHeight(frame) {
  const grid = frame.querySelector(".lg-node-widgets");
  const tracks = grid?.style.gridTemplateRows.split(" ") ?? [];
  const rows = [...(grid?.querySelectorAll(".lg-node-widget") ?? [])];
  if (!rows.length || tracks.length !== rows.length) return;
  const wanted = rows.map((row, i) => {
    const ours = row.querySelector("[data-controlstack]");
    if (!ours) return tracks[i];
    return ours.matches(".controlstack-grows") ? "minmax(min-content, 1fr)" : "min-content";
  }).join(" ");
  if (grid.style.getPropertyValue(ROWS) !== wanted) grid.style.setProperty(ROWS, wanted);
}
