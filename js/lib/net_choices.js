// Which nets a list offers and how it names them, from the server's table:
// {nets: {NAME: {is, base, blocks, depth, fits, is_net}}, base}.

import { english } from "./words.js";

// The names that may fit, in their order, without files that are known to be something else. The
// saved name always stays, and all names do where none is certain to fit.
export function offered(names, table, saved) {
  const without = (key) => (name) => name === saved || table.nets[name]?.[key] !== false;
  const nets = names.filter(without("is_net"));
  const possible = nets.filter(without("fits"));
  const isAnyCertain = possible.some((name) => table.nets[name]?.fits === true);
  const offers = isAnyCertain ? possible : nets;
  const isListed = offers.includes(saved) || typeof saved !== "string" || saved === "";
  return isListed ? offers : [saved, ...offers];
}

// Whether the folders hold no file that may be a net.
export function isWithoutNets(table) {
  return !Object.values(table.nets).some((net) => net.is_net !== false);
}

// How a list shows a net: its name, its family, and whether it does not fit the model. `say` as
// words.js gives it.
export function label(name, table, say = english) {
  const net = table?.nets[name];
  if (!net?.is) return name;
  const family = spokenFamily(net, say);
  if (net.is_net === false) return `${name}  ·  ${say("notANet", { file: family })}`;
  const fit = net.fits === false ? say("doesNotFit", { net: family, base: table.base }) : family;
  return `${name}  ·  ${fit}`;
}

// The server's "FAMILY for BASE" in the frontend's language.
export function spokenFamily(net, say) {
  const tail = ` for ${net.base}`;
  if (!net.base || !net.is.endsWith(tail)) return net.is;
  return say("netFor", { family: net.is.slice(0, -tail.length), base: net.base });
}

export function isTable(value) {
  return Boolean(value) && typeof value.nets === "object" && value.nets !== null;
}
