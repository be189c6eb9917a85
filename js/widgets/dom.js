// Elements, made without markup: text from a workflow is never parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";
const MIDDLE_BUTTON = 1, MIDDLE_PRESSED = 4; // of a pointer event's `button` and `buttons`

// An HTML element with properties, `attributes`, listeners (`on`) and children.
export function element(tag, { on = {}, attributes = {}, ...properties } = {}, ...children) {
  const node = document.createElement(tag);
  Object.assign(node, properties);
  setAttributes(node, attributes);
  addListeners(node, on);
  node.append(...children);
  return node;
}

// Where a path, file name or address that is long may be cut into lines; other words are not cut.
const LONG = 24; // characters
const CUTS = /(?<=[/\\_])(?=\w)|(?<=\w{2}[.-])(?=[A-Za-z]{2})/;

// Shows a sentence in an element, unless it stands there already; returns the element.
export function tell(target, sentence) {
  if (target.textContent === sentence) return target;
  const words = sentence.split(/(?<=\s)/);
  const parts = (word) => (word.length > LONG ? word.split(CUTS) : [word]);
  target.replaceChildren(...words.flatMap((word) => (
    parts(word).flatMap((part, i) => (i ? [element("wbr"), part] : [part])))));
  return target;
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  setAttributes(node, attributes);
  node.append(...children);
  return node;
}

// Sets what differs; null removes an attribute.
export function setAttributes(target, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null) target.removeAttribute(name);
    else if (target.getAttribute(name) !== String(value)) target.setAttribute(name, value);
  }
}

export function addListeners(target, listeners) {
  for (const [name, listener] of Object.entries(listeners)) {
    target.addEventListener(name, listener);
  }
}

// Gives `parent` exactly `count` children; those that exist stay, and with them the focus.
export function keepChildren(parent, count, make) {
  while (parent.children.length > count) parent.lastChild.remove();
  while (parent.children.length < count) parent.append(make());
  return [...parent.children];
}

// A list whose choices are actions: it falls back to its title. A choice is [value, label].
export function chooser(title, choices, choose) {
  const pick = () => {
    const [value] = choices[select.selectedIndex - 1];
    select.selectedIndex = 0;
    choose(value);
  };
  const options = choices.map(([, label]) => option(label, label));
  const select = element("select", { attributes: { "aria-label": title }, on: { change: pick } },
    option(`${title}…`, ""), ...options);
  return select;
}

export function option(label, value) {
  return element("option", { textContent: label, value });
}

// Calls `work` at most once a frame, with the newest arguments.
export function everyFrame(work) {
  let latest = null;
  const run = () => {
    const args = latest;
    latest = null;
    work(...args);
  };
  return (...args) => {
    if (latest === null) requestAnimationFrame(run);
    latest = args;
  };
}

// The pointer in the element's own pixels, whatever the zoom of the graph.
export function pointerIn(target, event) {
  const frame = target.getBoundingClientRect();
  const scale = frame.width / (target.clientWidth || frame.width) || 1;
  return [(event.clientX - frame.left) / scale, (event.clientY - frame.top) / scale];
}

// Keeps pointer and key events of our element from ComfyUI, which would drag or delete the node.
// The middle button and Ctrl or Command keys stay ComfyUI's. `restore` shows the texts as they are.
export function claimInput(target, pointerEvents, restore) {
  for (const name of pointerEvents) {
    target.addEventListener(name, (event) => {
      const isMiddle = event.button === MIDDLE_BUTTON || event.buttons === MIDDLE_PRESSED;
      if (!isMiddle) event.stopPropagation();
    });
  }
  target.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey) event.stopPropagation();
  });
  refuseHistory(target, restore);
}

let keyTarget = null; // where the last key went

// Ctrl+Z over the canvas is ComfyUI's undo, yet browsers also take back what was typed last,
// wherever the focus is now: the workflow would lose that text besides. Some move the focus there
// before they tell, so that where the key went counts too.
function refuseHistory(target, restore) {
  if (!keyTarget) {
    keyTarget = document.body;
    window.addEventListener("keydown", (event) => { keyTarget = event.target; }, true);
  }
  target.addEventListener("input", (event) => {
    if (!event.inputType?.startsWith("history")) return;
    if (event.target === document.activeElement && event.target === keyTarget) return;
    event.stopPropagation();
    restore?.();
  }, true);
}
