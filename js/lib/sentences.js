// The server's sentences and those of the grammar in the page's language: rows of [English, other],
// in which {blanks} stand for what a sentence names. A sentence without a row stays English.

// What may be expected, in sentences that say so.
const PHRASES = {
  zh: [
    ["a number from {low} to {high}", "{low} 到 {high} 之间的数"],
    ["a whole number from {low} to {high}", "{low} 到 {high} 之间的整数"],
    ["two weights 'a..b', for the first block and the middle", "两个权重 'a..b'，分别用于第一块和中间块"],
    ["the interpolation {choices}", "插值方式 {choices}"],
    ["'auto' or one of {choices}", "'auto' 或以下之一：{choices}"],
    ["{one} or {other}", "{one} 或 {other}"],
    ["the end of the text", "文本结尾"],
  ],
};

const SENTENCES = {
  zh: [
    // texts of Add ControlNet
    ["{field}: expected {expected} at character {at} of {text}, found {actual}. Write for"
      + " example {example}.",
      "{field}：第 {at} 个字符处应为{expected}，实际是 {actual}。例如可写 {example}。"],
    ["{field}: expected {expected} at character {at}, found {actual}. Write for example"
      + " {example}.",
      "{field}：第 {at} 个字符处应为{expected}，实际是 {actual}。例如可写 {example}。"],
    ["schedule: this sampler does not report its steps, so positions such as '6s' cannot"
      + " be used. Use fractions of sampling instead, such as 0.5.",
      "schedule：此采样器不报告步数，不能使用 '6s' 这样的位置。请改用采样进度的比例，例如 0.5。"],
    ["{net} has no type {type}: choose 'auto' or one of {choices}",
      "{net} 没有类型 {type}：请选 'auto' 或以下之一：{choices}"],
    ["{net} has no union types to choose from: leave union_type at 'auto'. It was trained"
      + " on one kind of hint, or tells kinds apart by the picture alone.",
      "{net} 没有可选的联合类型：请让 union_type 保持 'auto'。它只用一种提示图训练，或仅凭图像分辨类型。"],
    ["{net} takes one type at a time, found {types}: choose one, and add the net once"
      + " more for each of the others",
      "{net} 每次只接受一个类型，实际是 {types}：请选一个，其余类型各再添加一次该网络"],
    ["union_type names {types} types, so image needs as many hints for each of them: all"
      + " of the first type, then all of the next. Found {found} hints: give a multiple of"
      + " {types}, or one for all types.",
      "union_type 写了 {types} 个类型，因此 image 中每个类型需要同样多的提示图：先是第一个类型的全部，再是下一个。实际有 {found}"
        + " 张：请给出 {types} 的倍数，或一张用于所有类型。"],
    // Add and Apply ControlNet
    ["{net} encodes its hint with the VAE: connect the model's VAE to Apply ControlNet"
      + " Stack",
      "{net} 用 VAE 编码提示图：请把模型的 VAE 接到“应用 ControlNet 堆栈”"],
    ["{net} is an inpainting net: connect inpaint_mask of Add ControlNet (white = the"
      + " area to inpaint)",
      "{net} 是重绘网络：请连接“添加 ControlNet”的 inpaint_mask（白色为要重绘的区域）"],
    ["{net} does not use an inpaint_mask: leave it empty. To choose where control acts,"
      + " connect effect_mask.",
      "{net} 不使用 inpaint_mask：请留空。要选择控制的位置，请连接 effect_mask。"],
    ["fit 'region': the positive prompt has no area. Set one with ComfyUI's Conditioning"
      + " (Set Area) before Apply ControlNet Stack, or choose another fit.",
      "fit 'region'：正面提示词没有区域。请在“应用 ControlNet 堆栈”之前用 ComfyUI 的 Conditioning (Set Area)"
        + " 设置，或选择其他适配方式。"],
    ["control_net: expected a CONTROL_NET from a loader, found {found}",
      "control_net：应为加载节点给出的 CONTROL_NET，实际是 {found}"],
    ["image: expected finite values, found NaN or infinity. Check the node that made this"
      + " hint.",
      "image：应为有限的数值，实际含有 NaN 或无穷大。请检查生成该提示图的节点。"],
    ["{name}: expected a mask of (batch, height, width), found {found}",
      "{name}：应为 (批次, 高, 宽) 的遮罩，实际是 {found}"],
    ["{name}: expected numbers from 0 to 1, found values that are not finite",
      "{name}：应为 0 到 1 的数，实际含有非有限的值"],
    ["speed {speed} is not available yet: choose {choices}",
      "speed {speed} 尚不可用：请选 {choices}"],
    ["{net} was trained on {condition}, but this hint is of another kind: {other}",
      "{net} 是用 {condition} 训练的，但这张提示图属于另一种：{other}"],
    ["ControlNet {net} was trained on {condition}, and {title} makes {other}: {advice},"
      + " or disconnect control_net if you mean it",
      "ControlNet {net} 是用 {condition} 训练的，而“{title}”生成的是 {other}：{advice}；若确实要这样，请断开"
        + " control_net"],
    // files
    ["{file} is cut short: its header promises {expected} bytes, the file has {size}. The"
      + " download or copy broke off: download it again.",
      "{file} 不完整：文件头写明 {expected} 字节，实际只有 {size}。下载或复制中断了：请重新下载。"],
    ["{file} is damaged: its header describes {expected} bytes without gaps, the file has"
      + " {size}. Download it again.",
      "{file} 已损坏：文件头描述了 {expected} 字节，实际是 {size}。请重新下载。"],
    ["{file} is damaged or cut short ({error}).",
      "{file} 已损坏或不完整（{error}）。"],
    ["{file} is not a file: expected the weights of a ControlNet.",
      "{file} 不是文件：应为 ControlNet 的权重。"],
    ["{file} does not contain weights (perhaps it is a web page).",
      "{file} 不含权重（也许是一个网页）。"],
    ["{file} could not be read ({error}).",
      "无法读取 {file}（{error}）。"],
    ["{file} contains only the difference from its base model ({base}). Load it with"
      + " ComfyUI's 'Load ControlNet Model (diff)'; its output works here too.",
      "{file} 只包含与基础模型（{base}）的差值。请用 ComfyUI 的“Load ControlNet Model (diff)”加载；其输出在这里同样可用。"],
    ["{file} looks like {family}, but this version of ComfyUI cannot load it. Update"
      + " ComfyUI.",
      "{file} 看起来是 {family}，但此版本的 ComfyUI 无法加载。请更新 ComfyUI。"],
    ["{file} ({family}) lacks {count} of its weights{first}. Download it again.",
      "{file}（{family}）缺少 {count} 个权重{first}。请重新下载。"],
    ["{file} was not found and could not be downloaded: {reason} Download it from"
      + " {address} and put it into {folder}.",
      "未找到 {file}，也无法下载：{reason} 请从 {address} 下载并放入 {folder}。"],
    ["{file} is {problem}: expected {expected} bytes, found {size}.",
      "{file} 有问题（{problem}）：应为 {expected} 字节，实际是 {size}。"],
    ["there is no file {file} in the {where} folder: put a .json file with keypoints there",
      "{where} 文件夹中没有文件 {file}：请把含关键点的 .json 文件放在那里"],
    ["{file} leads out of ComfyUI's folders: give a name inside of them, not a path",
      "{file} 指向 ComfyUI 的文件夹之外：请给出其中的文件名，而不是路径"],
    // preprocessors
    ["{name} is {value}: choose one of {choices}",
      "{name} 是 {value}：请选择以下之一：{choices}"],
    ["{name} is {value}: give a whole number from {low} to {high}",
      "{name} 是 {value}：请给出 {low} 到 {high} 之间的整数"],
    ["{name} is {value}: give a number from {low} to {high}",
      "{name} 是 {value}：请给出 {low} 到 {high} 之间的数"],
    ["resolution is {value}: give 0 to keep the picture's size, or its short side in"
      + " pixels",
      "resolution 是 {value}：0 保持原图尺寸，否则请给出短边的像素数"],
    ["the batch of pictures is empty: connect at least one picture",
      "图像批次为空：请至少连接一张图"],
    ["this preprocessor needs OpenCV, and the Python that runs ComfyUI has none: run `pip"
      + " install opencv-python` with that Python and restart ComfyUI",
      "此预处理器需要 OpenCV，而运行 ComfyUI 的 Python 中没有：请用该 Python 运行 `pip install opencv-python`"
        + " 并重启 ComfyUI"],
    ["{count} hints of {width}x{height} pixels take {needed} GB of memory{left}: make"
      + " them smaller, or fewer at a time",
      "{count} 张 {width}x{height} 像素的提示图需要 {needed} GB 内存{left}：请减小尺寸，或减少数量"],
    ["{name} has {count} frames and the picture {frames}: connect one for all, or one for"
      + " each",
      "{name} 有 {count} 帧，而图像有 {frames} 帧：请连接一帧用于全部，或每帧一个"],
    ["the engine keypoints draws a connected pose_keypoint: connect one, or choose"
      + " another engine",
      "引擎 keypoints 绘制已连接的 pose_keypoint：请连接一个，或选择其他引擎"],
    ["pose_keypoint has {count} frames and image has {frames}: connect one frame for each"
      + " picture, or one for all",
      "pose_keypoint 有 {count} 帧，而 image 有 {frames} 张：请每张图连接一帧，或一帧用于全部"],
    ["engine depth makes normals from a depth map, and none is connected: connect one to"
      + " depth in the Normal Map node, or choose the engine bae or midas, which estimate it"
      + " themselves",
      "引擎 depth 由深度图计算法线，而没有连接深度图：请接到“法线图”节点的 depth，或选择自行估计的引擎 bae 或 midas"],
    ["{palette} has no class {name}: did you mean {near}? A number from 0 to {last} works"
      + " too",
      "{palette} 没有类别 {name}：是否指 {near}？也可以写 0 到 {last} 的编号"],
    ["expected a list of frames, found {found}: connect a POSE_KEYPOINT",
      "应为帧的列表，实际是 {found}：请连接 POSE_KEYPOINT"],
    ["one frame of {pixels} million pixels takes the network of {file} at least {needed}"
      + " GB of memory, and {free} GB are free: lower the resolution",
      "{file} 的网络处理一帧（{pixels} 百万像素）至少需要 {needed} GB 内存，而空闲 {free} GB：请降低分辨率"],
    ["expected one line of labels for each picture, found {lines} lines for {count}:"
      + " remove lines, or connect more pictures",
      "每张图应有一行标签，实际 {lines} 行对 {count}：请删去多余的行，或连接更多图像"],
    ["saved as {file} in the output folder",
      "已保存到输出文件夹：{file}"],
  ],
};

const BLANK = /\\\{(\w+)\\\}/g;

function patternOf(english) {
  const names = [];
  const escaped = english.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const source = escaped.replace(BLANK, (_, name) => {
    if (names.includes(name)) return `\\${names.indexOf(name) + 1}`;
    names.push(name);
    return "([^]+?)";
  });
  return { names, pattern: new RegExp(`^${source}$`) };
}

const compiled = new Map();

function rowsOf(table, language) {
  const key = `${table === PHRASES}/${language}`;
  if (!compiled.has(key)) {
    compiled.set(key, (table[language] ?? []).map(([english, other]) => (
      { ...patternOf(english), other })));
  }
  return compiled.get(key);
}

// The first row that fits, filled in; the blanks of phrases are translated too.
function through(table, text, language) {
  for (const { names, pattern, other } of rowsOf(table, language)) {
    const match = pattern.exec(text);
    if (!match) continue;
    return other.replace(/\{(\w+)\}/g, (_, name) => {
      const value = match[names.indexOf(name) + 1];
      return name === "expected" || name === "actual"
        ? through(PHRASES, value.replace(/^'(the end of the text)'$/, "$1"), language) : value;
    });
  }
  return text;
}

// A text of one or several lines in the language of a locale; lines that are not known stay.
export function inLanguage(text, locale) {
  const language = String(locale).split("-")[0];
  if (!Object.hasOwn(SENTENCES, language)) return text;
  return text.split("\n").map((line) => through(SENTENCES, line, language)).join("\n");
}

export const rows = (language) => SENTENCES[language];
