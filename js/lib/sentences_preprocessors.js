// Rows of sentences.js for preprocessors and poses:
// [English, other], the special before the general.

// What the server says.
export const sentences = {
  zh: [
    ["{name} is {value}: choose one of {choices}", "{name} 是 {value}：请选择以下之一：{choices}"],
    ["{name} is {value}: give a whole number from {low} to {high}",
      "{name} 是 {value}：请给出 {low} 到 {high} 之间的整数"],
    ["{name} is {value}: give a number from {low} to {high}",
      "{name} 是 {value}：请给出 {low} 到 {high} 之间的数"],
    ["resolution is {value}: give 0 to keep the picture's size, or its short side in pixels",
      "resolution 是 {value}：0 保持原图尺寸，否则请给出短边的像素数"],
    ["the batch of pictures is empty: connect at least one picture", "图像批次为空：请至少连接一张图"],
    ["this preprocessor needs OpenCV, and the Python that runs ComfyUI has none: run `pip"
      + " install opencv-python` with that Python and restart ComfyUI",
      "此预处理器需要 OpenCV，而运行 ComfyUI 的 Python 中没有：请用该 Python 运行 `pip install opencv-python`"
        + " 并重启 ComfyUI"],
    ["{count} hints of {width}x{height} pixels take {needed} GB of memory{left}: make them"
      + " smaller, or fewer at a time",
      "{count} 张 {width}x{height} 像素的提示图需要 {needed} GB 内存{left}：请减小尺寸，或减少数量"],
    ["{name} has {count} frames and the picture {frames}: connect one for all, or one for"
      + " each",
      "{name} 有 {count} 帧，而图像有 {frames} 帧：请连接一帧用于全部，或每帧一个"],
    ["the engine keypoints draws a connected pose_keypoint: connect one, or choose another"
      + " engine",
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
    ["expected one line of labels for each picture, found {lines} lines for {pictures}:"
      + " remove lines, or connect more pictures",
      "每张图应有一行标签，实际 {lines} 行对 {pictures}：请删去多余的行，或连接更多图像"],
    ["saved as {file} in the output folder", "已保存到输出文件夹：{file}"],
    ["{share} of this hint has colours that no class of ADE20K or COCO has, but the net"
      + " reads segmentation colours: use Segmentation Map, and resize such maps only with"
      + " 'nearest-exact'",
      "这张提示图有 {share} 的颜色不属于 ADE20K 或 COCO 的任何类别，而该网络读取分割图颜色：请使用“语义分割图”，且只用"
        + " 'nearest-exact' 缩放此类图"],
    ["this hint is coloured, but the net reads grey depth maps, near is white: use Depth",
      "这张提示图是彩色的，而该网络读取灰度深度图（近处为白）：请使用“深度”"],
    ["the top of this hint is nearer ({top}) than its foot ({foot}): if the scene is not"
      + " like that, its depth is inverted. The net reads near as white: invert the map"
      + " (Depth with engine image, image_mode inverted)",
      "这张提示图的顶部（{top}）比底部（{foot}）更近：若场景并非如此，则深度是反的。该网络以白色为近：请反转深度图（“深度”的引擎"
        + " image，image_mode 选 inverted）"],
    ["this hint is red where surfaces face the camera (the convention of CN 1.0), but the"
      + " net reads blue there: choose convention 'bae' in Normal Map (engine image converts"
      + " a finished map)",
      "这张提示图中朝向相机的表面是红色（CN 1.0 的约定），而该网络以蓝色读取：请在“法线图”中选择 convention 'bae'（引擎 image 可转换已有的图）"],
    ["this hint is blue where surfaces face the camera, but this net reads red there (the"
      + " convention of CN 1.0): choose convention 'cn1.0' in Normal Map (engine image"
      + " converts a finished map)",
      "这张提示图中朝向相机的表面是蓝色，而该网络以红色读取（CN 1.0 的约定）：请在“法线图”中选择 convention 'cn1.0'（引擎 image"
        + " 可转换已有的图）"],
    ["{file} does not hold the network that this engine needs: {reason} (first: {key})."
      + " Delete the file to download it again",
      "{file} 不含此引擎需要的网络：{reason}（第一个：{key}）。请删除该文件以重新下载"],
    ["this preprocessor needs OpenCV, which is empty, as the uninstall of one of its"
      + " builds leaves it: {remedy}",
      "此预处理器需要 OpenCV，但它是空的，卸载其某个版本后会如此：{remedy}"],
    ["this preprocessor needs OpenCV, which is installed but does not start ({error}):"
      + " {remedy}",
      "此预处理器需要 OpenCV，它已安装但无法启动（{error}）：{remedy}"],
    ["{name}: expected a MASK of (batch, height, width), found {found}",
      "{name}：应为 (批次, 高, 宽) 的 MASK，实际是 {found}"],
    ["resolution {resolution} would turn this picture of {size} pixels into {result}: the"
      + " longest side may have {limit}, so lower the resolution or crop the picture",
      "resolution {resolution} 会把这张 {size} 像素的图变成 {result}：最长边不得超过 {limit}，请降低分辨率或裁剪图像"],
    ["expected a float picture of (batch, height, width, channels) with 1, 3 or 4"
      + " channels, found {found}: connect an IMAGE",
      "应为 (批次, 高, 宽, 通道) 的浮点图像，含 1、3 或 4 个通道，实际是 {found}：请连接 IMAGE"],
    ["the picture is {size} pixels: each side needs at least one", "图像为 {size} 像素：每边至少一个像素"],
    ["{share} of this hint is light, but the net reads bright lines on black: invert the"
      + " picture, or let a preprocessor draw the lines",
      "这张提示图有 {share} 是亮的，而该网络读取黑底亮线：请反相，或用预处理器绘制线条"],
    ["{where}: expected {expected}, found {actual}: check the file or the node that these"
      + " keypoints come from",
      "{where}：应为 {expected}，实际是 {actual}：请检查这些关键点来自的文件或节点"],
    ["the list of frames is empty: expected at least one frame, connect keypoints that"
      + " have one",
      "帧列表为空：应至少有一帧，请连接含帧的关键点"],
    ["{where}: expected keypoints of people, found those of animals: their joints are"
      + " other ones, and the pose ControlNets that these skeletons are for know people only,"
      + " so connect the picture that the animals' own node draws",
      "{where}：应为人的关键点，实际是动物的：其关节不同，而使用这些骨架的姿态 ControlNet 只认识人，请连接动物节点自己绘制的图像"],
    ["{where}: expected {expected}, a whole number of pixels from 1 to {limit}, found"
      + " none: OpenPose's own files do not state the size of the picture, so load them with"
      + " Load Pose and set its width and height to that size",
      "{where}：应有 {expected}，即 1 到 {limit} 的整数像素，实际没有：OpenPose"
        + " 自己的文件不写图像尺寸，请用“加载姿态”加载，并把其宽和高设为该尺寸"],
    ["expected JSON with a list of frames, found JSON that is nested too deeply: save the"
      + " keypoints again",
      "应为含帧列表的 JSON，实际的 JSON 嵌套过深：请重新保存关键点"],
    ["expected JSON with a list of frames, found text that is not JSON ({error}): save the"
      + " keypoints again",
      "应为含帧列表的 JSON，实际不是 JSON（{error}）：请重新保存关键点"],
    ["{file} is not a TorchScript file, or is cut short ({error})",
      "{file} 不是 TorchScript 文件，或不完整（{error}）"],
    ["{file} is not an ONNX file that onnxruntime can run ({error})",
      "{file} 不是 onnxruntime 能运行的 ONNX 文件（{error}）"],
    ["the file does not hold a {net} of this size (first difference: {key})",
      "文件不含此尺寸的 {net}（第一处差异：{key}）"],
    ["the file does not hold a {net} of this size: {count} weights are missing or of"
      + " another shape (first: {key})",
      "文件不含此尺寸的 {net}：有 {count} 个权重缺失或形状不同（第一个：{key}）"],
    ["depth has {count} frames and image has {frames}: connect one depth for each frame,"
      + " or one for all",
      "depth 有 {count} 帧，而 image 有 {frames} 帧：请每帧连接一张深度图，或一张用于全部"],
    ["the engine {engine} does not have the palette {palette}: choose {choices}",
      "引擎 {engine} 没有调色板 {palette}：请选 {choices}"],
    ["label_map has the label {label}, and {palette} ends at {last}: choose the palette"
      + " that it was made with, and connect labels, not a picture of their colours",
      "label_map 含标签 {label}，而 {palette} 到 {last} 为止：请选择生成它的调色板，并连接标签，而不是其颜色图"],
    ["paint {entry}: a box is left, top, right and bottom as fractions of the picture,"
      + " such as 0 0 1 0.4",
      "paint {entry}：框由左、上、右、下组成，以占图像的比例表示，例如 0 0 1 0.4"],
    ["paint names {count} classes without a box and areas holds {masks} masks: connect one"
      + " mask for each of them, in their order, or write boxes",
      "paint 写了 {count} 个不带框的类别，而 areas 有 {masks} 个遮罩：请按顺序为每个类别连接一个遮罩，或写出框"],
    ["the keypoints' canvas has {size} pixels, and hints may have up to {limit} on a side:"
      + " set width and height, which people are fitted to",
      "关键点的画布为 {size} 像素，而提示图每边最多 {limit}：请设置宽和高，人物会适配到该尺寸"],
    ["this engine needs the weights {file}, and nothing here can load them: choose an"
      + " engine without weights, or pass `networks`",
      "此引擎需要权重 {file}，而这里无法加载：请选择不需要权重的引擎，或传入 `networks`"],
    ["{method} has no parameter {names}: choose from {choices}",
      "{method} 没有参数 {names}：请从 {choices} 中选择"],
    ["{name} is {value}: give a text", "{name} 是 {value}：请给出文本"],
    ["{name} is {value}: give true or false", "{name} 是 {value}：请给出 true 或 false"],
  ],
};

// What its sentences are assembled of.
export const phrases = {
  zh: [
    ["run `pip install --force-reinstall --no-deps {wheel}` with the Python that runs"
      + " ComfyUI and restart ComfyUI",
      "请用运行 ComfyUI 的 Python 执行 `pip install --force-reinstall --no-deps {wheel}` 并重启"
        + " ComfyUI"],
    ["{missing} weights missing, {unknown} unknown, {wrong} of another shape",
      "缺少 {missing} 个权重，{unknown} 个未知，{wrong} 个形状不同"],
    [", and {free} GB are free", "，而空闲 {free} GB"],
    ["a dict with people and a canvas", "含 people 和画布的 dict"],
    ["a list under 'people'", "'people' 下的列表"],
    ["at most {count} people", "最多 {count} 人"],
    ["{count} up to here", "到此已有 {count}"],
    ["{counts} numbers (x, y, score)", "{counts} 个数 (x, y, 分数)"],
    ["{count} (17 points, as of COCO or of animals)", "{count}（17 个点，如 COCO 或动物的）"],
    ["{name}, a whole number of pixels from 1 to {limit}", "{name}，即 1 到 {limit} 的整数像素"],
    ["a dict of keypoint lists", "由关键点列表组成的 dict"],
    ["a list of numbers", "数的列表"],
    ["x, y and score for every point", "每个点的 x、y 和分数"],
    ["{count} numbers", "{count} 个数"],
    ["finite numbers", "有限的数"],
    ["NaN or infinity", "NaN 或无穷大"],
    ["points near the canvas of {size}", "{size} 画布附近的点"],
    ["one at ({place})", "位于 ({place}) 的点"],
    ["numbers only", "只含数"],
    ["a number that is too large to be a pixel", "大得不能是像素的数"],
    ["a very large number", "非常大的数"],
    ["the text {value}", "文本 {value}"],
    ["frame {frame}, person {person}, {list}", "第 {frame} 帧，第 {person} 人，{list}"],
    ["frame {frame}, person {person}", "第 {frame} 帧，第 {person} 人"],
    ["frame {frame}", "第 {frame} 帧"],
    ["pixels", "像素"],
  ],
};
