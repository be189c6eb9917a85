// Which nets a list offers, from what the server tells of them: {nets: {NAME: {is, base, blocks, fits}}, base}.

import { english } from "./words.js";

// The names that may fit, in their order; never without the saved one, and all of them where none is known to fit.
export function offered(names, table, saved) {
  const kept = names.filter((name) => name === saved || table.nets[name]?.fits !== false);
  const isSome = kept.some((name) => table.nets[name]?.fits === true);
  const shown = isSome ? kept : [...names];
  return shown.includes(saved) || typeof saved !== "string" || saved === "" ? shown : [saved, ...shown];
}

// How a list shows a net: its name, its family, and whether it does not fit the model. `say` as words.js gives it.
export function label(name, table, say = english) {
  const net = table?.nets[name];
  if (!net?.is) return name;
  const tail = ` for ${net.base}`; // the server's sentence, taken apart for other languages
  const is = net.base && net.is.endsWith(tail) ? say("netFor", { family: net.is.slice(0, -tail.length), base: net.base }) : net.is;
  return `${name}  ·  ${net.fits === false ? say("doubt", { net: is, base: table.base }) : is}`;
}

export const isTable = (value) => Boolean(value) && typeof value.nets === "object" && value.nets !== null;
