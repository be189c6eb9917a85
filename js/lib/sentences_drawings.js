// Rows of sentences.js for drawings of Draw Scribble: [English, other], the special before the
// general.

// What the server and the page say.
export const sentences = {
  zh: [
    ["the drawing has {count} characters: expected at most {most}. Draw fewer strokes, or spread"
      + " them over two canvases.",
      "绘图有 {count} 个字符：最多为 {most}。请少画几笔，或分到两块画布上。"],
    ["the drawing is damaged: expected JSON with strokes. Draw it again, or choose another.",
      "绘图已损坏：应为含笔画的 JSON。请重新绘制，或选择另一个。"],
    ["this is not a drawing: expected a JSON object with v, width, height and strokes. Draw it"
      + " again, or choose another.",
      "这不是绘图：应为含 v、width、height 和 strokes 的 JSON 对象。请重新绘制，或选择另一个。"],
    ["the drawing has version {version}: expected {most}. Update ControlStack.",
      "绘图的版本是 {version}：应为 {most}。请更新 ControlStack。"],
    ["the drawing's strokes: expected a list, found {value}.", "绘图的笔画：应为列表，实际是 {value}。"],
    ["the drawing has {count} strokes: expected at most {most}. Spread them over two canvases.",
      "绘图有 {count} 笔：最多为 {most}。请分到两块画布上。"],
    ["the drawing has {count} points: expected at most {most}. Spread its strokes over two"
      + " canvases.",
      "绘图有 {count} 个点：最多为 {most}。请把笔画分到两块画布上。"],
    ["the drawing's {side}: expected a whole number from {low} to {high}, found {value}.",
      "绘图的 {side}：应为 {low} 到 {high} 之间的整数，实际是 {value}。"],
    ["stroke {number} of the drawing: {error}", "绘图的第 {number} 笔：{error}"],
    ["expected an object, found {value}.", "应为对象，实际是 {value}。"],
    ["expected the tool brush, eraser, line or fill, found {value}. Update ControlStack, or draw"
      + " it again.",
      "工具应为 brush、eraser、line 或 fill，实际是 {value}。请更新 ControlStack，或重新绘制。"],
    ["expected {low} points, each as x, y and pressure, found {count} numbers.",
      "应有 {low} 个点（各为 x、y 和压力），实际有 {count} 个数。"],
    ["expected {part} from {low} to {high}, found {value}.",
      "{part} 应在 {low} 到 {high} 之间，实际是 {value}。"],
    ["expected {keys}, found {value}. Update ControlStack, or draw it again.",
      "应为 {keys}，实际是 {value}。请更新 ControlStack，或重新绘制。"],
    ["the drawing takes too long at {size} pixels: {count} times what can be drawn in seconds."
      + " Lower width and height, or draw with fewer and thinner strokes.",
      "以 {size} 像素绘制太久：是几秒内所能画的 {count} 倍。请减小 width 和 height，或用更少、更细的笔画。"],
    ["{file} has {count} bytes: expected a drawing of at most {most}. Choose another.",
      "{file} 有 {count} 字节：绘图最多为 {most}。请选择另一个。"],
    ["{file} is not a drawing: expected a text of strokes. Choose another.",
      "{file} 不是绘图：应为笔画的文本。请选择另一个。"],
    ["{file} could not be read from {place} in the input folder ({detail}). Check the file, or"
      + " draw again.",
      "无法从输入文件夹的 {place} 读取 {file}（{detail}）。请检查该文件，或重新绘制。"],
    ["{file} cannot name a drawing: expected the name of a file in {place} of the input folder, not"
      + " a path. Draw again, or choose another.",
      "{file} 不能作绘图的名称：应为输入文件夹的 {place} 中的文件名，而不是路径。请重新绘制，或选择另一个。"],
    ["there is no drawing {file} in {place} of the input folder: copy it there, or draw again.",
      "输入文件夹的 {place} 中没有绘图 {file}：请复制到那里，或重新绘制。"],
    ["{side}: expected 0, or {low} to {high} pixels, found {value}.",
      "{side}：应为 0，或 {low} 到 {high} 像素，实际是 {value}。"],
    ["the picture has {size} pixels: expected at most {most} on each side. Set width and height, or"
      + " scale it down.",
      "图像为 {size} 像素：每边最多 {most}。请设置 width 和 height，或缩小图像。"],
    ["Nothing is drawn on the canvas: the hint is empty. Draw in the node.",
      "画布上什么也没有：提示图为空。请在节点中绘制。"],
  ],
};

// What fills the blanks of others.
export const phrases = {
  zh: [],
};
