// A preset's name is one file in one folder, whatever it is called.
import assert from "node:assert/strict";
import test from "node:test";

import { fileOf, namesOf, problem, unusedName } from "../../js/lib/preset_names.js";

test("plain names are files of the folder", () => {
  for (const name of ["canny", "Two nets (v2)", "深度", "a.b", "Ä ö"]) {
    assert.equal(problem(name), "");
    assert.equal(fileOf(name), `controlstack/presets/${name}.json`);
  }
});

test("names that lead out of the folder, or that files cannot have, are refused", () => {
  const names = [
    "..", "../x", "a/b", "a\\b", "/etc/passwd", "C:x", ".hidden", "x.", " x", "x ", "a\u0000b",
    "a\nb", "con", "NUL.txt", "lpt1", "a%2fb", "a<b>", "a|b", 'a"b', "a*b", "a?b", "\u202etxt",
    "\ud800",
  ];
  for (const name of names) {
    assert.equal(problem(name), "presetBadName", JSON.stringify(name));
    assert.throws(() => fileOf(name), RangeError);
  }
  assert.equal(problem("  "), "presetNoName");
  assert.equal(problem("x".repeat(81)), "presetLongName");
});

test("the list has the presets alone, in order", () => {
  const files = [{ path: "b.json" }, { path: "a.json" }, "c.txt", { path: "sub/d.json" }];
  assert.deepEqual(namesOf(files), ["a", "b"]);
});

test("an imported file gets a name that nobody has", () => {
  assert.equal(unusedName("mine.json", []), "mine");
  assert.equal(unusedName("mine.json", ["mine", "mine 2"]), "mine 3");
  assert.equal(unusedName("../../x.json", []), "x");
  assert.equal(unusedName("???", []), "preset");
  assert.equal(problem(unusedName("y".repeat(300), [])), "");
});
