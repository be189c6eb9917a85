// Rows of sentences.js for Control Stack Panel: [English, other], the special before the general.

// What the server says.
export const sentences = {
  zh: [
    ["row {number} ({net}): {error}", "第 {number} 行（{net}）：{error}"],
    ["row {number}: {error}", "第 {number} 行：{error}"],
    ["rows: expected the text of a panel, found {found}. Connect a node that gives a"
      + " STRING.",
      "rows：应为面板的文本，实际是 {found}。请连接输出 STRING 的节点。"],
    ["rows: expected a list under 'rows', found {found}. Write {example}.",
      "rows：'rows' 下应为列表，实际是 {found}。请写 {example}。"],
    ["rows: a panel has at most {most} rows, found {found}. Use several panels.",
      "rows：一个面板最多 {most} 行，实际有 {found} 行。请使用多个面板。"],
    ["rows: a panel's text has at most {most} characters, found {found}",
      "rows：面板的文本最多 {most} 个字符，实际有 {found} 个"],
    ["rows: expected JSON, but it breaks off at character {at} ({why}). Write for example"
      + " {example}.",
      "rows：应为 JSON，但在第 {at} 个字符处中断（{why}）。例如可写 {example}。"],
    ["rows: expected JSON such as {example}, found NaN, Infinity, or too many digits or"
      + " brackets",
      "rows：应为 {example} 这样的 JSON，实际含有 NaN、Infinity 或过多的数字或括号"],
    ["rows: expected JSON such as {example}, found {found}",
      "rows：应为 {example} 这样的 JSON，实际是 {found}"],
    ["rows: this panel was saved by a newer ControlStack (version {version} of its text,"
      + " this one reads {readable}). Update ControlStack.",
      "rows：此面板由更新的 ControlStack 保存（文本版本 {version}，本版本只能读 {readable}）。请更新 ControlStack。"],
    ["rows: expected version {version} under 'v', found {found}",
      "rows：'v' 下的版本应为 {version}，实际是 {found}"],
    ["its id {id} is that of row {number} too. Give each row an id of its own, or none.",
      "它的 id {id} 与第 {number} 行相同。请给每行各自的 id，或不写。"],
    ["expected a row's settings by their names, found {found}",
      "应为一行的各项设置（按名称），实际是 {found}"],
    ["a row has no {key}: write {meant}", "行中没有 {key}：请写 {meant}"],
    ["it has no 'net': give the name of a ControlNet's file", "没有 'net'：请给出 ControlNet 文件名"],
    ["give up to 64 letters, digits, - and _", "请给出最多 64 个字母、数字、- 和 _"],
    ["give a text of at most {count} characters", "请给出最多 {count} 个字符的文本"],
    ["give the method's settings by their names", "请按名称给出该方法的设置"],
    ["give true or false", "请给出 true 或 false"],
    ["give a number from {low} to {high}", "请给出 {low} 到 {high} 的数"],
    ["give a whole number from 0 to {high}", "请给出 0 到 {high} 的整数"],
    ["it has no ControlNet: choose one, or turn the row off", "没有 ControlNet：请选一个，或关闭该行"],
    ["the file is not in models/{folder}: put it there, choose another, or turn the row off",
      "文件不在 models/{folder} 中：请放到那里、另选一个，或关闭该行"],
    ["nothing is connected to image{number}: connect a picture, or choose another socket",
      "image{number} 未连接：请连接图像，或选择其他插口"],
    ["{name}: nothing is connected to mask{number}: connect a mask, or choose none",
      "{name}：mask{number} 未连接：请连接遮罩，或不选"],
    ["{method} has no setting {name}: choose from {choices}",
      "{method} 没有设置 {name}：可选 {choices}"],
    ["method is 'auto', but neither the file nor its name tells which hints this ControlNet"
      + " was trained on: choose a method",
      "method 为 'auto'，但文件及其名称都不能说明该 ControlNet 用哪种提示图训练：请选择方法"],
    ["method is 'auto', but this pack has no method that makes the hints of this"
      + " ControlNet: choose 'none' and connect a finished hint",
      "method 为 'auto'，但本插件没有生成该 ControlNet 提示图的方法：请选 'none' 并连接做好的提示图"],
    ["positive is not connected, but negative is: connect both, or none",
      "连接了 negative 却没有连接 positive：请两个都连接，或都不连接"],
  ],
};

// What its sentences are assembled of.
export const phrases = {
  zh: [],
};
