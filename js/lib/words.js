// The texts of our widgets, in the frontend's language. Errors of the text forms are the grammar's
// own and stay English.

export const WORDS = {
  en: {
    // both text fields
    asText: "{field}, as text",
    showPicture: "{field}: show the picture",
    hidePicture: "{field}: hide the picture",
    preset: "preset",
    // the schedule as a curve
    points: "{field}: points of the curve. Arrow keys move a point, Insert adds one,"
      + " Delete removes it.",
    point: "point {number} at {where}",
    percent: "{at} % of sampling",
    samplerStep: "sampler step {at}",
    strengthAt: "strength {strength} at {where}",
    steps: "{count} steps",
    position: "position of the point",
    positionUnit: "fraction of sampling, or sampler step",
    strength: "strength at the point",
    at: "at",
    is: "strength",
    add: "add a point",
    remove: "remove the point",
    between: "interpolation between points",
    linear: "linear",
    smooth: "smooth",
    step: "step",
    constant: "constant",
    "fade in": "fade in",
    "fade out": "fade out",
    early: "early",
    late: "late",
    bell: "bell",
    // the layers as bars
    blocks: "{field}: a weight for each block, from input to middle. Arrow keys change it.",
    block: "block {number} of {count}",
    middle: "middle block",
    weight: "weight {weight}",
    weightOf: "weight of the block",
    "all the same": "all the same",
    "soft (guess mode)": "soft (guess mode)",
    details: "details",
    composition: "composition",
    "by resolution": "by resolution",
    // hints and their sources
    source: "source",
    hint: "hint",
    both: "source and hint",
    divider: "divider between source and hint",
    share: "{percent} % source",
    runOnce: "run it once to see the hint",
    compare: "Compare with the source",
    hide: "Hide the comparison",
    // lists of nets
    netFor: "{family} for {base}",
    doesNotFit: "{net}, does not fit {base}",
  },
  zh: {
    asText: "{field}（文本）",
    showPicture: "{field}：展开图形",
    hidePicture: "{field}：收起图形",
    preset: "预设",
    points: "{field}：曲线上的点。方向键移动，Insert 添加，Delete 删除。",
    point: "第 {number} 个点，位于{where}",
    percent: "采样进度 {at} %",
    samplerStep: "采样第 {at} 步",
    strengthAt: "{where}处强度 {strength}",
    steps: "{count} 步",
    position: "点的位置",
    positionUnit: "采样进度的比例，或采样步",
    strength: "点的强度",
    at: "位置",
    is: "强度",
    add: "添加点",
    remove: "删除点",
    between: "点之间的插值",
    linear: "线性",
    smooth: "平滑",
    step: "阶跃",
    constant: "恒定",
    "fade in": "渐强",
    "fade out": "渐弱",
    early: "前期",
    late: "后期",
    bell: "钟形",
    blocks: "{field}：每个块的权重，从输入块到中间块。方向键调整。",
    block: "第 {number} 块，共 {count} 块",
    middle: "中间块",
    weight: "权重 {weight}",
    weightOf: "块的权重",
    "all the same": "各层相同",
    "soft (guess mode)": "渐弱（猜测模式）",
    details: "细节",
    composition: "构图",
    "by resolution": "按分辨率",
    source: "原图",
    hint: "提示图",
    both: "原图与提示图",
    divider: "原图与提示图的分界线",
    share: "原图占 {percent} %",
    runOnce: "运行一次即可看到提示图",
    compare: "与原图对比",
    hide: "隐藏对比",
    netFor: "{base} 的 {family}",
    doesNotFit: "{net}，不适用于 {base}",
  },
};

// (key, values) → text, in the language of a locale ("zh", "zh-TW"); English for all others.
export function wordsOf(locale) {
  const names = [String(locale), String(locale).split("-")[0]];
  const language = names.find((name) => Object.hasOwn(WORDS, name)) ?? "en";
  const words = WORDS[language];
  return (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

export const english = wordsOf("en");
