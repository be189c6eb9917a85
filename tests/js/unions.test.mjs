// What a net can take of union_type, in the server's words, and what its list offers.
import assert from "node:assert/strict";
import test from "node:test";

import { choices, problem } from "../../js/lib/unions.js";

const SDXL = ["openpose", "depth", "hed/pidi/scribble/ted", "canny/lineart", "normal"];
const FLUX = ["canny", "depth", "pose/openpose"];
const all = [...SDXL, "tile", ...FLUX];
const sdxl = { all, own: SDXL, fuses: true, net: "ControlNet 'u' (union ControlNet for SDXL)" };
const flux = { all, own: FLUX, fuses: false, net: "ControlNet 'f' (Flux union)" };
const plain = { all, own: [], fuses: false, net: "ControlNet 'p' (ControlNet for SD1.5)" };
const unknown = { all, own: null, fuses: false, net: null };

test("what a net takes has no problem, whoever names a type alike", () => {
  for (const text of ["", "auto", "depth", "pidi", "canny, depth:0.5", "pose"])
    assert.equal(problem(text, sdxl), "", text);
  for (const text of ["canny", "openpose", "pose", "ＤＥＰＴＨ".toLowerCase()])
    assert.equal(problem(text, flux), "", text);
  for (const text of ["auto", " ", "ａｕｔｏ"]) assert.equal(problem(text, plain), "", text);
  assert.equal(problem("tile", unknown), "");
});

test("what it cannot take is said in the server's words", () => {
  assert.match(problem("tile", sdxl), /has no type 'tile': choose 'auto' or one of openpose, de/);
  assert.match(problem("canny, depth", flux), /takes one type at a time, found 'canny, depth'/);
  assert.match(problem("depth", plain), /has no union types to choose from: leave union_type at/);
  assert.match(problem("cany", unknown), /expected 'auto' or one of canny, canny\/lineart, depth/);
  const own = /expected 'auto' or one of canny, depth, openpose, pose, pose\/openpose at char/;
  assert.match(problem("cany", flux), own, "no type of other nets is named");
  assert.equal(problem("cany", { ...unknown, all: null }), "", "the server has not told the types");
});

test("the list offers the net's types, and those that go with a chosen one", () => {
  assert.deepEqual(choices("auto", sdxl), { types: SDXL, more: [] });
  assert.deepEqual(choices("depth", sdxl).more, [
    ...["depth, openpose", "depth, hed/pidi/scribble/ted"],
    ...["depth, canny/lineart", "depth, normal"],
  ]);
  assert.deepEqual(choices("depth", flux), { types: FLUX, more: [] });
  assert.deepEqual(choices("nonsense", sdxl), { types: SDXL, more: [] });
  assert.deepEqual(choices("depth", { all: null, own: null, fuses: false }).types, []);
});
