// Works the schedule curve and the layer bars as a user would, in one renderer of one page, and
// prints what became of them as JSON. node editor_scenes.mjs ASK.json, with browser.mjs's keys and
// {"cell": NAME, "pictures": DIR,
//   "stack": UI-form JSON of a whole workflow with ControlStackAdd, "saved": {NAME: {"workflow",
//   "prompt"}}}
import { join } from "node:path";
import { ask, atRest, frames, launch, load, openPage, settle, until } from "./browser.mjs";
import { scenes } from "./hint_scenes.mjs";
import { scenes as netScenes } from "./net_scenes.mjs";

const EMPTY = {
  nodes: [],
  links: [],
  groups: [],
  config: {},
  extra: {},
  version: 0.4,
  last_node_id: 0,
  last_link_id: 0,
};
const VIEW = { width: 1300, height: 900 };

// A graph of one Add ControlNet at a fixed place, with both of its fields open or closed.
async function oneNode(page, open = true) {
  await page.evaluate(
    async ({ empty, open }) => {
      await window.app.loadGraphData(empty);
      const node = LiteGraph.createNode("ControlStackAdd");
      node.pos = [100, 60];
      window.app.graph.add(node);
      window.app.canvas.ds.scale = 1;
      window.app.canvas.ds.offset = [200, 40];
      window.app.canvas.setDirty(true, true);
      window.app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState?.();
      return open;
    },
    { empty: EMPTY, open },
  );
  await still(page);
  if (!open) return;
  for (const name of ["schedule", "layers"])
    await field(page, name).locator("button[aria-expanded]").click();
  await plot(page, "layers").waitFor();
  await still(page);
}

// Where the fields and what is in them lie.
const places = (page) =>
  page.evaluate(() =>
    [...document.querySelectorAll(".controlstack-field, .controlstack-plot")].map((one) => {
      const { x, y, width, height } = one.getBoundingClientRect();
      return [x, y, width, height];
    }),
  );

// Until the fields are there and have come to rest: the node's layout follows a change some frames
// later.
async function still(page) {
  await field(page, "layers").waitFor();
  await atRest(page, () => places(page), { calmMs: 120 });
}

const field = (page, name) => page.locator(`.controlstack-field[aria-label="${name}"]`);
const plot = (page, name) => field(page, name).locator("svg.controlstack-plot");

const state = (page) =>
  page.evaluate(() => {
    const node = window.app.graph.nodes.find((one) => one.type === "ControlStackAdd");
    const { scale, offset } = window.app.canvas.ds;
    return {
      values: Object.fromEntries(node.widgets.map((widget) => [widget.name, widget.value])),
      types: Object.fromEntries(node.widgets.map((widget) => [widget.name, widget.type])),
      pos: [...node.pos],
      view: [scale, ...offset],
    };
  });

// The other renderer is at work, and has laid the node out.
async function switched(page, vue) {
  await until(page, (vue) => Boolean(window.LiteGraph.vueNodesMode) === vue, vue);
  await frames(page, 5);
  await plot(page, "schedule").waitFor();
  await still(page);
}

const value = async (page, name) => (await state(page)).values[name];

async function choose(page, name, preset) {
  await field(page, name).locator('select[aria-label="preset"]').selectOption(preset);
  await still(page);
}

const centre = async (locator) => {
  const box = await locator.boundingBox();
  return [box.x + box.width / 2, box.y + box.height / 2];
};

async function drag(page, [x, y], [dx, dy], steps = 12) {
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x + dx, y + dy, { steps });
  await page.mouse.up();
  await frames(page, 3);
}

// Undo loads the graph as it was; `name` then has the text that it had.
async function undo(page, name, { values }) {
  await page.keyboard.press("Control+z");
  await until(
    page,
    ([name, text]) =>
      window.app.graph.nodes[0]?.widgets.find((one) => one.name === name).value === text,
    [name, values[name]],
  );
  await field(page, "layers").waitFor();
}

const SCENES = {
  async created(page) {
    await oneNode(page, false);
    const prompt = await page.evaluate(
      async () => Object.values((await window.app.graphToPrompt()).output)[0].inputs,
    );
    return { ...(await state(page)), prompt };
  },

  async curveByMouse(page) {
    await oneNode(page);
    await choose(page, "schedule", "bell");
    const before = await state(page);
    await drag(page, await centre(plot(page, "schedule").locator("circle").nth(1)), [-40, 30]);
    const after = await state(page);
    await undo(page, "schedule", before);
    return { before, after, undone: await state(page) };
  },

  async curveByDoubleClick(page) {
    await oneNode(page);
    await choose(page, "schedule", "fade out");
    const box = await plot(page, "schedule").boundingBox();
    await page.mouse.dblclick(box.x + box.width / 2, box.y + 20);
    const added = await state(page);
    await page.mouse.dblclick(...(await centre(plot(page, "schedule").locator("circle").nth(1))));
    await frames(page);
    return {
      added,
      removed: await state(page),
      dialogs: await page.locator(".litesearchbox, .comfy-vue-node-search-container").count(),
    };
  },

  async curveByKeys(page) {
    await oneNode(page);
    await choose(page, "schedule", "bell");
    await plot(page, "schedule").locator("circle").nth(1).focus();
    const seen = {};
    for (const key of ["ArrowLeft", "Shift+ArrowDown", "Insert", "Delete", "Delete"]) {
      await page.keyboard.press(key);
      seen[key + ("Delete" in seen && key === "Delete" ? " again" : "")] = await value(
        page,
        "schedule",
      );
    }
    await page.waitForTimeout(700); // for a node that goes: nothing here is waited for
    const nodes = await page.evaluate(() => window.app.graph.nodes.length);
    return {
      seen,
      nodes,
      labels: await plot(page, "schedule").locator("circle").first().getAttribute("aria-valuetext"),
    };
  },

  async curveByTab(page) {
    await oneNode(page, false);
    await field(page, "schedule").locator("button[aria-expanded]").focus();
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.type("0:1, 1:0");
    const reached = [];
    for (let i = 0; i < 7; i++) {
      await page.keyboard.press("Tab");
      reached.push(await page.evaluate(() => document.activeElement.getAttribute("aria-label")));
    }
    return { reached, value: await value(page, "schedule") };
  },

  async curveByNumbers(page) {
    await oneNode(page);
    await choose(page, "schedule", "fade out");
    await plot(page, "schedule").locator("circle").nth(1).focus();
    await field(page, "schedule").getByLabel("position of the point").fill("0.8");
    await field(page, "schedule").getByLabel("strength at the point").fill("1.5");
    await field(page, "schedule").getByLabel("interpolation between points").selectOption("step");
    const edited = await value(page, "schedule");
    await choose(page, "schedule", "bell");
    const position = field(page, "schedule").getByLabel("position of the point");
    return { value: edited, positionOfPreset: await position.inputValue() };
  },

  async textAndErrors(page) {
    await oneNode(page);
    const input = field(page, "schedule").locator("input.controlstack-text");
    await input.fill("0:1, tomorrow:2");
    const wrong = {
      value: await value(page, "schedule"),
      message: await field(page, "schedule").getByRole("alert").textContent(),
      invalid: await input.getAttribute("aria-invalid"),
    };
    await input.fill("0:0.5, 1:1");
    const right = {
      value: await value(page, "schedule"),
      alerts: await field(page, "schedule").getByRole("alert").count(),
    };
    return { wrong, right };
  },

  async copyAndPaste(page) {
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await oneNode(page);
    await choose(page, "schedule", "bell");
    await plot(page, "schedule").locator("circle").first().focus();
    await page.keyboard.press("Control+c");
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    await page.evaluate(() => navigator.clipboard.writeText("0:0.2, 1:0.4"));
    await page.keyboard.press("Control+v");
    await until(
      page,
      (text) =>
        window.app.graph.nodes[0].widgets.find((one) => one.name === "schedule").value !== text,
      copied,
    );
    return {
      copied,
      value: await value(page, "schedule"),
      nodes: await page.evaluate(() => window.app.graph.nodes.length),
    };
  },

  async barsByMouse(page) {
    await oneNode(page);
    await choose(page, "layers", "soft (guess mode)");
    const before = await state(page);
    const [x, y] = await centre(plot(page, "layers").locator("rect.slot").nth(2));
    await drag(page, [x, y], [60, -10]);
    const after = await state(page);
    await undo(page, "layers", before);
    return { before, after, undone: await state(page) };
  },

  async barsByKeys(page) {
    await oneNode(page);
    await choose(page, "layers", "by resolution");
    const preset = await value(page, "layers");
    await choose(page, "layers", "all the same");
    await plot(page, "layers").locator("rect.slot").first().focus();
    for (const key of ["ArrowRight", "Shift+ArrowDown", "ArrowDown"])
      await page.keyboard.press(key);
    const keys = await value(page, "layers");
    await field(page, "layers").getByLabel("weight of the block").fill("0.25");
    return {
      preset,
      keys,
      numbers: await value(page, "layers"),
      label: await plot(page, "layers").locator("rect.slot").last().getAttribute("aria-label"),
    };
  },

  async savedAndLoaded(page) {
    await oneNode(page);
    await choose(page, "schedule", "bell");
    await choose(page, "layers", "details");
    const saved = await page.evaluate(() =>
      JSON.parse(JSON.stringify(window.app.graph.serialize())),
    );
    const before = await state(page);
    await load(page, saved);
    await still(page);
    const again = await page.evaluate(() =>
      JSON.parse(JSON.stringify(window.app.graph.serialize())),
    );
    const open = await page.locator('.controlstack-field button[aria-expanded="true"]').count();
    return {
      before,
      after: await state(page),
      open,
      stored: saved.nodes[0].widgets_values,
      again: again.nodes[0].widgets_values,
      sizes: [saved.nodes[0].size, again.nodes[0].size],
    };
  },

  async rendererSwitched(page) {
    await oneNode(page);
    await choose(page, "schedule", "bell");
    const show = (vue) =>
      page.evaluate(
        (vue) => window.app.extensionManager.setting.set("Comfy.VueNodes.Enabled", vue),
        vue,
      );
    await show(!ask.vue);
    await switched(page, !ask.vue);
    const unchanged = await value(page, "schedule");
    await drag(page, await centre(plot(page, "schedule").locator("circle").nth(1)), [-30, 20]);
    const edited = await state(page);
    await show(ask.vue);
    await switched(page, ask.vue);
    return {
      unchanged,
      edited,
      back: await state(page),
      seen: await plot(page, "schedule").isVisible(),
    };
  },

  async subgraph(page) {
    await load(page, ask.stack);
    const prompt = () => page.evaluate(async () => (await window.app.graphToPrompt()).output);
    const before = await prompt();
    await page.evaluate(() => {
      const nodes = window.app.graph.nodes.filter((node) => node.type === "ControlStackAdd");
      window.app.graph.convertToSubgraph(new Set(nodes));
    });
    await until(page, async () =>
      Object.keys((await window.app.graphToPrompt()).output).some((id) => id.includes(":")),
    );
    return { before, after: await prompt() };
  },

  async linked(page) {
    await oneNode(page, false);
    await page.evaluate(() => {
      const add = window.app.graph.nodes[0],
        text = LiteGraph.createNode("PrimitiveString");
      text.pos = [-150, 60];
      window.app.graph.add(text);
      text.widgets[0].value = "0:0.3";
      text.connect(
        0,
        add,
        add.inputs.findIndex((slot) => slot.name === "schedule"),
      );
    });
    await until(page, async () =>
      Object.values((await window.app.graphToPrompt()).output).some((node) =>
        Array.isArray(node.inputs.schedule),
      ),
    );
    const output = await page.evaluate(async () => (await window.app.graphToPrompt()).output);
    await page.evaluate(() => {
      const tracker = window.app.extensionManager.workflow.activeWorkflow.changeTracker;
      (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
    });
    await page.waitForTimeout(800); // for a field that stays open to the keys
    const editable = field(page, "schedule").locator("input.controlstack-text:enabled:visible");
    return {
      editable: await editable.count(),
      schedule: Object.values(output).find((node) => node.class_type === "ControlStackAdd").inputs
        .schedule,
    };
  },

  // A node drawn tall: its height goes to the open plots, wherever their row is; a closed field
  // takes none.
  async tall(page) {
    await oneNode(page);
    const measure = () =>
      page.evaluate(() => {
        const node = window.app.graph.nodes[0];
        const height = (name) =>
          document
            .querySelector(`.controlstack-field[aria-label="${name}"] svg.controlstack-plot`)
            .getBoundingClientRect().height;
        const row = (name) =>
          document
            .querySelector(`.controlstack-field[aria-label="${name}"]`)
            .getBoundingClientRect().height;
        const names = ["schedule", "layers"];
        return {
          plots: names.map(height),
          fields: names.map(row),
          size: [...node.size],
        };
      });
    const before = await measure();
    await page.evaluate(() => {
      const node = window.app.graph.nodes[0];
      node.setSize([node.size[0], 1100]);
      window.app.canvas.setDirty(true, true);
    });
    await still(page);
    const tall = await measure();
    await page.screenshot({
      path: join(ask.pictures, `tall-${ask.cell}.png`),
      clip: { x: 200, y: 0, width: 500, height: 900 },
    });
    await field(page, "layers").locator("button[aria-expanded]").click();
    await still(page);
    return { before, tall, closed: await measure() };
  },

  // The wire of a stack: its colour, also after another palette was chosen, and what is offered
  // where it is dropped.
  async stackWire(page) {
    await oneNode(page, false);
    const palette = (name) =>
      page.evaluate(
        (name) => window.app.extensionManager.setting.set("Comfy.ColorPalette", name),
        name,
      );
    await palette("light");
    await frames(page, 20);
    await palette("dark");
    await page.waitForTimeout(500);
    const colours = await page.evaluate(() => [
      window.app.canvas.default_connection_color_byType.CONTROL_STACK,
      document.documentElement.style.getPropertyValue("--color-datatype-CONTROL_STACK"),
    ]);
    const [x, y] = await page.evaluate(() => {
      const { app } = window;
      const [px, py] = app.graph.nodes[0].getConnectionPos(false, 0);
      const { scale, offset } = app.canvas.ds;
      const canvas = app.canvas.canvas.getBoundingClientRect();
      return [canvas.x + (px + offset[0]) * scale, canvas.y + (py + offset[1]) * scale];
    });
    await drag(page, [x, y], [260, 120]);
    await page.locator(".litecontextmenu").first().waitFor().catch(() => {});
    const offered = await page.locator(".litecontextmenu .litemenu-entry").allTextContents();
    await page.keyboard.press("Escape");
    await page.mouse.click(1200, 800);
    return { colours, offered: offered.map((text) => text.trim()) };
  },

  // A muted or bypassed node is dim, with its fields.
  async muted(page) {
    await oneNode(page);
    const opacity = async (mode) => {
      await page.evaluate((mode) => {
        window.app.graph.nodes[0].mode = mode;
        window.app.canvas.setDirty(true, true);
      }, mode);
      await page.waitForTimeout(300);
      return page.evaluate(() => {
        let product = 1;
        let one = document.querySelector(".controlstack-field");
        for (; one; one = one.parentElement) product *= Number(getComputedStyle(one).opacity);
        return product;
      });
    };
    return { plain: await opacity(0), muted: await opacity(2), bypassed: await opacity(4) };
  },

  async markup(page) {
    await oneNode(page);
    const nasty = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>';
    await page.evaluate((text) => {
      const graph = window.app.graph.serialize();
      graph.nodes[0].widgets_values = graph.nodes[0].widgets_values.map((old) =>
        typeof old === "string" ? text : old,
      );
      graph.nodes[0].title = text;
      return window.app.loadGraphData(graph);
    }, nasty);
    await field(page, "schedule").getByRole("alert").waitFor();
    await page.waitForTimeout(500); // for a script that runs: nothing here is waited for
    return {
      hit: await page.evaluate(() => window.hit ?? 0),
      images: await page.locator(".controlstack-field img").count(),
      message: await field(page, "schedule").getByRole("alert").textContent(),
      value: await value(page, "schedule"),
      nasty,
    };
  },
};

async function saved(page) {
  const prompts = {};
  for (const [name, { workflow }] of Object.entries(ask.saved)) {
    await load(page, workflow);
    prompts[name] = await page.evaluate(async () => (await window.app.graphToPrompt()).output);
  }
  return prompts;
}

// The pack without its page, and with a widget that breaks: the values stay reachable as plain
// text.
async function broken(browser, pattern, body) {
  const errors = [];
  const { page, errors: thrown } = await openPage(browser, {
    viewport: VIEW,
    prepare: async (page) => {
      page.on(
        "console",
        (message) =>
          message.type() === "error" &&
          message.text().includes("ControlStack:") &&
          errors.push(message.text()),
      );
      await page.route(pattern, (route) =>
        body ? route.fulfill({ contentType: "text/javascript", body }) : route.abort(),
      );
    },
  });
  await page.evaluate((empty) => window.app.loadGraphData(empty), EMPTY);
  await page.evaluate(() => {
    const node = LiteGraph.createNode("ControlStackAdd");
    window.app.graph.add(node);
  });
  const created = await state(page);
  const prompts = await saved(page);
  await page.close();
  return { created, saved: prompts, logged: errors, thrown };
}

// Both fields open, in the dark and in the light theme.
async function pictures(page) {
  await oneNode(page);
  await choose(page, "schedule", "bell");
  await choose(page, "layers", "soft (guess mode)");
  for (const palette of ["dark", "light"]) {
    await page.evaluate(
      (name) => window.app.extensionManager.setting.set("Comfy.ColorPalette", name),
      palette,
    );
    await until(
      page,
      (name) => window.app.extensionManager.setting.get("Comfy.ColorPalette") === name,
      palette,
    );
    await frames(page, 20);
    await page.screenshot({
      path: join(ask.pictures, `widgets-${ask.cell}-${palette}.png`),
      clip: { x: 200, y: 0, width: 500, height: 860 },
    });
  }
  await page.evaluate(() => window.app.extensionManager.setting.set("Comfy.ColorPalette", "dark"));
}

const browser = await launch();
const outcomes = {};
try {
  await settle();
  const { page, errors } = await openPage(browser, { viewport: VIEW });
  for (const [name, scene] of Object.entries({
    ...SCENES,
    ...scenes(EMPTY),
    ...netScenes(EMPTY),
  })) {
    if (ask.only && !ask.only.includes(name)) continue;
    const began = performance.now();
    outcomes[name] = await scene(page).catch((error) => ({ failed: String(error) }));
    outcomes[name] = {
      ...outcomes[name],
      errors: errors.splice(0),
      ms: Math.round(performance.now() - began),
    };
  }
  outcomes.saved = await saved(page);
  await pictures(page);
  outcomes.errors = errors;
  await page.close();
  if (ask.more) {
    outcomes.withoutScripts = await broken(browser, "**/controlstack/main.js");
    outcomes.withBrokenWidget = await broken(
      browser,
      "**/controlstack/widgets/curve_editor.js",
      "export class CurveEditor {} export function curveField() { throw new Error('broken'); }" +
        " export function scheduleField() { throw new Error('broken on purpose'); }",
    );
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(outcomes));
