// Scenes of hints that follow a setting, of the comparison with the source, and of lists of nets.
// See editor_scenes.mjs.
import { join } from "node:path";
import { ask, atRest, frames, load, turn, until, unused } from "./browser.mjs";

const SETTING = "ControlStack.LiveHint";

const set = (page, id, value) =>
  page.evaluate(([id, value]) => window.app.extensionManager.setting.set(id, value), [id, value]);

// A picture, a node of ours fed by it (through another where `between` says so), both at fixed
// places.
async function hinted(page, type, { empty, between = "" }) {
  await page.evaluate(
    async ({ type, empty, between }) => {
      const { app } = window;
      await app.loadGraphData(empty);
      const add = (kind, pos) => {
        const node = LiteGraph.createNode(kind);
        node.pos = pos;
        app.graph.add(node);
        return node;
      };
      const load = add("LoadImage", [0, 60]),
        node = add(type, [420, 60]);
      load.widgets.find((widget) => widget.name === "image").value = "example.png";
      if (between) {
        const middle = add(between, [300, 500]);
        load.connect(0, middle, 0);
        middle.connect(0, node, 0);
      } else load.connect(0, node, 0);
      app.canvas.ds.scale = 1;
      app.canvas.ds.offset = [80, 40];
      app.canvas.setDirty(true, true);
    },
    { type, empty, between },
  );
  await frames(page, 5);
}

// A method of Preprocessor (any), with the setting that it brings.
async function choose(page, method, setting) {
  await turn(page, "ControlStackPreprocess", "method", method);
  await until(
    page,
    (name) =>
      window.app.graph.nodes.some((node) => node.widgets?.some((widget) => widget.name === name)),
    `method.${setting}`,
  );
}

const compare = (page) => page.locator(".controlstack-compare");

// The switch under the hint.
const choice = (page, mode) => page.locator(`.controlstack-switch button[value="${mode}"]`);

// The hint as it is shown: how many of its pixels are white, and its size.
const shown = (page) =>
  page.evaluate(async () => {
    const image = document.querySelector(".controlstack-compare img[alt=hint]");
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight),
      context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let white = 0;
    for (let i = 0; i < data.length; i += 4) white += data[i] > 127;
    return {
      white,
      size: [canvas.width, canvas.height],
      isBlob: image.src.startsWith("blob:"),
      src: image.src,
    };
  });

async function newHint(page, before) {
  await page.waitForFunction(
    (before) => {
      const image = document.querySelector(".controlstack-compare img[alt=hint]");
      return image?.complete && image.naturalWidth > 0 && image.src !== before;
    },
    before,
    { timeout: 30_000 },
  );
  return shown(page);
}

// Makes the changes until now one step of undo.
const capture = (page) =>
  page.evaluate(() => {
    const tracker = window.app.extensionManager.workflow.activeWorkflow.changeTracker;
    (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
  });

const values = (page, type) =>
  page.evaluate(
    (type) => window.app.graph.serialize().nodes.find((one) => one.type === type).widgets_values,
    type,
  );

export const scenes = (empty) => ({
  async liveOff(page) {
    await set(page, SETTING, false);
    await hinted(page, "ControlStackCanny", { empty });
    await turn(page, "ControlStackCanny", "low_threshold", 20);
    await page.waitForTimeout(700); // for a hint that comes unasked: nothing here is waited for
    return { compares: await compare(page).count() };
  },

  async liveByRoute(page) {
    await hinted(page, "ControlStackCanny", { empty });
    const chosen = () => page.locator('.controlstack-switch [aria-checked="true"]').textContent();
    await set(page, SETTING, true);
    await frames(page, 3);
    const followed = [await chosen()];
    const plain = await values(page, "ControlStackCanny");
    await turn(page, "ControlStackCanny", "high_threshold", 60);
    const many = await newHint(page, "");
    await turn(page, "ControlStackCanny", "low_threshold", 250);
    await turn(page, "ControlStackCanny", "high_threshold", 255);
    const few = await newHint(page, many.src);
    const stored = await values(page, "ControlStackCanny");
    await until(page, () =>
      [...document.querySelectorAll(".controlstack-compare img")].every((image) => image.complete),
    );
    await frames(page, 5);
    await page.screenshot({
      path: join(ask.pictures, `compare-${ask.cell}.png`),
      clip: { x: 60, y: 40, width: 900, height: 640 },
    });
    await set(page, SETTING, false);
    await frames(page, 3);
    followed.push(await chosen());
    return { many, few, plain, stored, chosen: followed };
  },

  async liveThroughQueue(page) {
    await set(page, SETTING, true);
    await hinted(page, "ControlStackXDoG", { empty, between: "ImageInvert" });
    // not in the host's cache
    await turn(page, "ControlStackXDoG", "threshold", 12 + (unused() % 40));
    const hint = await newHint(page, "");
    await set(page, SETTING, false);
    const nodes = await page.evaluate(() => window.app.graph.nodes.length);
    // After undo the hint that is there is one of other settings.
    await choice(page, "compare").click();
    await frames(page, 3);
    await capture(page);
    await turn(page, "ControlStackXDoG", "threshold", 52 + (unused() % 12));
    let other = await newHint(page, hint.src);
    while (other.white === hint.white) other = await newHint(page, other.src);
    await capture(page);
    await page.mouse.click(900, 800);
    await page.keyboard.press("Control+z");
    const message = compare(page).locator("p:not(:empty)");
    await message.waitFor().catch(() => {});
    const outdated = {
      text: await message.textContent({ timeout: 1000 }).catch(() => ""),
      opacity: await compare(page)
        .locator("img[alt=hint]")
        .evaluate((image) => Number(getComputedStyle(image).opacity)),
    };
    return { hint, nodes, outdated };
  },

  async compared(page) {
    await hinted(page, "ControlStackPreprocess", { empty });
    await choose(page, "lineart", "gaussian_sigma");
    await turn(page, "ControlStackPreprocess", "method.gaussian_sigma", 3.5);
    await choice(page, "compare").click();
    const first = await newHint(page, "");
    await turn(page, "ControlStackPreprocess", "method.intensity_threshold", 21);
    await newHint(page, first.src);
    const place = () =>
      page.evaluate(() => {
        const node = window.app.graph.nodes.find((one) => one.type === "ControlStackPreprocess");
        return [...node.pos, window.app.canvas.ds.scale, ...window.app.canvas.ds.offset];
      });
    await atRest(page, () => compare(page).boundingBox());
    const before = await place();
    const box = await compare(page).boundingBox();
    const slider = compare(page).locator("input[type=range]");
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width / 4, box.y + box.height / 2 + 10, { steps: 8 });
    await page.mouse.up();
    const dragged = Number(await slider.inputValue());
    await page.keyboard.press("ArrowRight");
    const pressed = Number(await slider.inputValue());
    const after = await place();
    await choose(page, "canny", "low_threshold");
    await choose(page, "lineart", "gaussian_sigma");
    await turn(page, "ControlStackPreprocess", "method.gaussian_sigma", 3.5);
    await turn(page, "ControlStackPreprocess", "method.intensity_threshold", 21);
    const stored = await values(page, "ControlStackPreprocess");
    const label = await slider.getAttribute("aria-label");
    await load(
      page,
      await page.evaluate(() => JSON.parse(JSON.stringify(window.app.graph.serialize()))),
    );
    return {
      before,
      after,
      dragged,
      pressed,
      stored,
      label,
      again: await values(page, "ControlStackPreprocess"),
    };
  },

  // Off, live and compared, by the switch under the hint; the saved workflow remembers it.
  async switched(page) {
    await hinted(page, "ControlStackCanny", { empty });
    const state = async () => ({
      chosen: await page
        .locator('.controlstack-switch [aria-checked="true"]')
        .evaluateAll((buttons) => buttons.map((button) => button.textContent)),
      hints: await compare(page).count(),
      dividers: await page.locator(".controlstack-compare input[type=range]:visible").count(),
      property: await page.evaluate(
        () =>
          window.app.graph.nodes.find((one) => one.type === "ControlStackCanny").properties
            .controlstack_hint ?? null,
      ),
    });
    await choice(page, "live").waitFor();
    const before = await state();
    await choice(page, "live").click();
    const first = await newHint(page, "");
    await turn(page, "ControlStackCanny", "low_threshold", 20);
    await newHint(page, first.src);
    const live = await state();
    await choice(page, "compare").click();
    const compared = await state();
    await load(
      page,
      await page.evaluate(() => JSON.parse(JSON.stringify(window.app.graph.serialize()))),
    );
    await choice(page, "off").waitFor();
    await compare(page).waitFor();
    const loaded = await state();
    await page.screenshot({
      path: join(ask.pictures, `switch-${ask.cell}.png`),
      clip: { x: 60, y: 40, width: 900, height: 640 },
    });
    // Undo gives the field its value back, and the hint is the one of that value.
    const fine = await newHint(page, "");
    await turn(page, "ControlStackCanny", "low_threshold", 199);
    const coarse = await newHint(page, fine.src);
    await capture(page);
    await page.mouse.click(900, 800);
    await page.keyboard.press("Control+z");
    await until(page, () =>
      window.app.graph.nodes.some((node) =>
        node.widgets?.some(({ name, value }) => name === "low_threshold" && value === 20),
      ),
    );
    const undone = await newHint(page, coarse.src).catch(() => ({}));
    await choice(page, "off").click();
    await compare(page).waitFor({ state: "detached" });
    const white = [fine, coarse, undone].map((hint) => hint.white);
    return { before, live, compared, loaded, white, off: await state() };
  },

  // The menu's entry, and what undo and loading leave of it.
  async comparedByMenu(page) {
    await hinted(page, "ControlStackCanny", { empty });
    const choose = () =>
      page.evaluate(() => {
        const node = window.app.graph.nodes.find((one) => one.type === "ControlStackCanny");
        const mine = window.app.extensions.find((one) => one.name === "ControlStack");
        const [entry] = mine.getNodeMenuItems(node);
        entry.callback();
        return entry.content;
      });
    const many = (count) =>
      until(
        page,
        (count) => document.querySelectorAll(".controlstack-compare").length === count,
        count,
      );
    const first = await choose();
    await many(1);
    const shown = await compare(page).count();
    await load(
      page,
      await page.evaluate(() => JSON.parse(JSON.stringify(window.app.graph.serialize()))),
    );
    await many(1);
    const count = await compare(page).count();
    const second = await choose();
    await many(0);
    return {
      first,
      second,
      counts: [shown, count, await compare(page).count()],
      stored: await values(page, "ControlStackCanny"),
    };
  },

  // What the curve and the bars take from the graph around them, and that they follow it.
  async readFromTheGraph(page) {
    const graph = JSON.parse(JSON.stringify(ask.stack));
    const [add, other] = graph.nodes.filter((node) => node.type === "ControlStackAdd");
    graph.nodes.find((node) => node.type === "ControlStackLoad").widgets_values = [
      "other_family.safetensors",
    ];
    add.properties.controlstack_open = "schedule layers";
    other.pos = [3000, 3000];
    await load(page, graph);
    await page.evaluate(
      () =>
        Object.assign(window.app.canvas.ds, { scale: 1, offset: [-600, -200] }) &&
        window.app.canvas.setDirty(true, true),
    );
    await until(page, () =>
      [...document.querySelectorAll(".controlstack-plot")].some(
        (plot) => plot.querySelectorAll("rect.slot").length === 2,
      ),
    );
    const steps = (count) =>
      until(
        page,
        (count) =>
          [...document.querySelectorAll(".controlstack-plot")].some(
            (plot) =>
              plot.checkVisibility() && plot.querySelector("text").textContent === `${count} steps`,
          ),
        count,
      );
    await steps(20);
    const look = () =>
      page.evaluate(() =>
        [...document.querySelectorAll(".controlstack-plot")]
          .filter((plot) => plot.checkVisibility())
          .map((plot) => ({
            bars: plot.querySelectorAll("rect.slot").length,
            steps: plot.querySelector("text").textContent,
            ticks: (plot.querySelector(".ticks")?.getAttribute("d").match(/M/g) ?? []).length,
          })),
      );
    const before = await look();
    await turn(page, "KSampler", "steps", 8);
    await capture(page);
    await steps(8);
    return { before, after: await look() };
  },

  // A photograph where a canny map belongs: Add says so on itself, and its numbers stay as they
  // are.
  async remark(page) {
    const graph = JSON.parse(JSON.stringify(ask.single));
    const node = (type) => graph.nodes.find((one) => one.type === type);
    const [load_, hint, add] = ["LoadImage", "ControlStackCanny", "ControlStackAdd"].map(node);
    const wire = graph.links.find(([, from, , to]) => from === hint.id && to === add.id);
    [wire[1], wire[2]] = [load_.id, 0];
    hint.outputs[0].links = [];
    load_.outputs[0].links.push(wire[0]);
    node("EmptyLatentImage").widgets_values = [64, 64, 1];
    node("KSampler").widgets_values[2] = 1;
    node("KSampler").widgets_values[0] = unused(); // not in the host's cache
    add.widgets_values[0] = 0.5 + (unused() % 100) / 1000;
    await load(page, graph);
    await page.evaluate(
      (pos) =>
        Object.assign(window.app.canvas.ds, { scale: 1, offset: [300 - pos[0], 120 - pos[1]] }) &&
        window.app.canvas.setDirty(true, true),
      add.pos,
    );
    const ended = page.evaluate(
      () =>
        new Promise((done) => {
          for (const end of ["execution_success", "execution_error"])
            window.app.api.addEventListener(end, () => done(end), { once: true });
        }),
    );
    await page.evaluate(() => window.app.queuePrompt(0, 1));
    const end = await ended;
    const remark = page.locator(".controlstack-remark");
    await remark.waitFor({ timeout: 20_000 }).catch(() => {});
    await atRest(page, () => remark.boundingBox({ timeout: 1000 }).catch(() => null));
    await page.screenshot({
      path: join(ask.pictures, `remark-${ask.cell}.png`),
      clip: { x: 260, y: 30, width: 440, height: 640 },
    });
    const seen = await remark
      .evaluate(
        (remark, id) => {
          const node = window.app.graph.nodes.find((one) => String(one.id) === String(id));
          const [x, y, width, height] = node.getBounding(),
            [left, top] = window.app.canvas.ds.offset;
          const box = remark.getBoundingClientRect(),
            frame = window.app.canvas.canvas.getBoundingClientRect();
          return {
            text: remark.textContent,
            isWhole: remark.scrollHeight <= remark.clientHeight + 1,
            isInside:
              remark.checkVisibility() &&
              box.x >= frame.x + x + left &&
              box.y >= frame.y + y + top &&
              box.right <= frame.x + x + left + width &&
              box.bottom <= frame.y + y + top + height,
            others: node.widgets.filter((one) => one.name === "$$node-text-preview").length,
          };
        },
        add.id,
        { timeout: 5000 },
      )
      .catch((error) => ({ text: String(error) }));
    const stored = await values(page, "ControlStackAdd");
    await page.evaluate(() => {
      // a hint that fits: the remark goes
      const { graph } = window.app,
        node = (type) => graph.nodes.find((one) => one.type === type);
      node("ControlStackCanny").connect(
        0,
        node("ControlStackAdd"),
        node("ControlStackAdd").inputs.findIndex((one) => one.name === "image"),
      );
      const again = new Promise((done) =>
        window.app.api.addEventListener("execution_success", () => done(), { once: true }),
      );
      return window.app.queuePrompt(0, 1).then(() => again);
    });
    await until(page, () => !document.querySelector(".controlstack-remark"));
    return { end, seen, stored, asked: add.widgets_values, left: await remark.count() };
  },

  async netLists(page) {
    const lists = () =>
      page.evaluate(() =>
        window.app.graph.nodes
          .filter((node) => node.type === "ControlStackLoad")
          .map((node) => {
            const widget = node.widgets.find((one) => one.name === "control_net_name");
            return {
              value: widget.value,
              values: [...widget.options.values],
              label: widget.options.getOptionLabel?.(widget.value),
            };
          }),
      );
    // Until every list has (or has not) the net of another family, and says so of the one that is
    // chosen.
    const listed = (isThere, text) =>
      until(
        page,
        ([isThere, text]) =>
          window.app.graph.nodes
            .filter((node) => node.type === "ControlStackLoad")
            .every(
              ({ widgets: [{ value, options }] }) =>
                options.values.includes("other_family.safetensors") === isThere &&
                options.getOptionLabel?.(value).includes(text),
            ),
        [isThere, text],
      );
    await load(page, ask.stack);
    await listed(false, "");
    const fitting = await lists();
    await set(page, "ControlStack.FilterNets", false);
    await listed(true, "");
    const all = await lists();
    await set(page, "ControlStack.FilterNets", true);
    const other = JSON.parse(JSON.stringify(ask.stack));
    for (const node of other.nodes)
      if (node.type === "ControlStackLoad") node.widgets_values = ["other_family.safetensors"];
    await load(page, other);
    await listed(true, "does not fit");
    return { fitting, all, saved: await lists() };
  },
});
