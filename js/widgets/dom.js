// Elements, made without markup: what comes from a workflow is only ever text.

const SVG = "http://www.w3.org/2000/svg";

// An HTML element with properties, ARIA and data attributes, listeners (`on`) and children.
export function element(tag, { on = {}, attributes = {}, ...properties } = {}, ...children) {
  const made = document.createElement(tag);
  Object.assign(made, properties);
  setAttributes(made, attributes);
  for (const [name, listener] of Object.entries(on)) made.addEventListener(name, listener);
  made.append(...children);
  return made;
}

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  setAttributes(made, attributes);
  made.append(...children);
  return made;
}

export function setAttributes(target, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null) target.removeAttribute(name);
    else if (target.getAttribute(name) !== String(value)) target.setAttribute(name, value);
  }
}

// Makes the number of `parent`'s children equal `count`, keeping those that are there (and so the focus).
export function keepChildren(parent, count, make) {
  while (parent.children.length > count) parent.lastChild.remove();
  while (parent.children.length < count) parent.append(make(parent.children.length));
  return [...parent.children];
}

// A list of choices that stands for an action: it falls back to its title. A choice is [name, value, what is shown].
export function chooser(title, choices, chosen) {
  const select = element("select", {
    attributes: { "aria-label": title },
    on: { change: () => { const picked = choices[select.selectedIndex - 1]; select.selectedIndex = 0; chosen(picked[1]); } },
  }, element("option", { textContent: `${title}…`, value: "" }),
    ...choices.map(([name, , shown]) => element("option", { textContent: shown, value: name })));
  return select;
}

// Calls `work` at most once a frame, with the newest arguments.
export function everyFrame(work) {
  let asked = null;
  return (...args) => {
    if (asked === null) requestAnimationFrame(() => { const last = asked; asked = null; work(...last); });
    asked = args;
  };
}

// The pointer in the element's own pixels, whatever the zoom of the graph.
export function pointerIn(target, event) {
  const frame = target.getBoundingClientRect();
  const scale = frame.width / (target.clientWidth || frame.width) || 1;
  return [(event.clientX - frame.left) / scale, (event.clientY - frame.top) / scale];
}
