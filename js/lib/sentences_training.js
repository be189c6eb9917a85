// Rows of sentences.js for data sets and training:
// [English, other], the special before the general.

// What the server says.
export const sentences = {
  zh: [
    ["{count} pairs at {size}, hints from {hints}", "{count} 对，{size}，提示图来自 {hints}"],
    ["model: a ControlNet can be trained for {bases}; this model is {found}, which is not"
      + " a text-conditioned UNet. Load a checkpoint of one of those.",
      "model：可为 {bases} 训练 ControlNet；此模型是 {found}，不是文本条件的 UNet。请加载其中一种的检查点。"],
    ["model: expected a base with {expected} latent channels, found {channels}, as"
      + " inpainting and editing models have. Use the plain model that it was made from: the"
      + " trained net then works on both.",
      "model：基础模型应有 {expected} 个潜空间通道，实际是 {channels}，重绘和编辑模型就是如此。请使用它所源自的普通模型：训练出的网络对两者都适用。"],
    ["vae: expected latents of {expected} for this model, found {actual}. Connect the VAE"
      + " of the model's own checkpoint.",
      "vae：此模型的潜变量应为 {expected}，实际是 {actual}。请连接模型自身检查点的 VAE。"],
    ["vae: expected finite latents, found NaN or infinity for {picture}. Start ComfyUI"
      + " with --fp32-vae or --bf16-vae, or load a VAE that was repaired for half precision.",
      "vae：潜变量应为有限值，{picture} 得到 NaN 或无穷大。请用 --fp32-vae 或 --bf16-vae 启动 ComfyUI，或加载为半精度修复的"
        + " VAE。"],
    ["clip: expected finite numbers, found NaN or infinity for the prompt {prompt}. Start"
      + " ComfyUI with --fp32-text-enc, or load another text encoder.",
      "clip：应为有限的数，提示词 {prompt} 得到 NaN 或无穷大。请用 --fp32-text-enc 启动 ComfyUI，或加载其他文本编码器。"],
    ["{what}: expected a name without a suffix, found {found}. The file is written as"
      + " {suffix}: {name} is enough.",
      "{what}：应为不带后缀的名称，实际是 {found}。文件会写成 {suffix}：写 {name} 即可。"],
    ["{what}: expected a name of at most {limit} bytes, found one of {bytes}. Choose a"
      + " shorter one.",
      "{what}：名称最多 {limit} 字节，实际是 {bytes}。请用更短的名称。"],
    ["{what}: expected a name, or folder/name, found {found}. It is written below"
      + " {folder}/.",
      "{what}：应为名称，或 文件夹/名称，实际是 {found}。文件写在 {folder}/ 之下。"],
    ["{what}: {name} leads out of {folder}/ over a link. Choose a name inside it.",
      "{what}：{name} 经链接指向 {folder}/ 之外。请选择其中的名称。"],
    ["{file} does not read ({error}). Remove it, or choose another name.",
      "无法读取 {file}（{error}）。请删除它，或选择其他名称。"],
    ["folder and target are both given: empty one of them", "folder 和 target 都给出了：请清空其中一个"],
    ["no pictures: name a folder of ComfyUI's input folder, or connect target",
      "没有图像：请写出 ComfyUI 输入文件夹中的文件夹，或连接 target"],
    ["no hints: connect hint, or choose a method that makes them", "没有提示图：请连接 hint，或选择生成提示图的方法"],
    ["hint is connected and a method is chosen: disconnect it, or choose the method 'given'",
      "已连接 hint 又选择了方法：请断开 hint，或选择方法 'given'"],
    ["folder: there is no {name} in {root}/. There: {offered}.",
      "folder：{root}/ 中没有 {name}。现有：{offered}。"],
    ["folder: expected the name of a folder in {root}/, found {found}. There: {offered}.",
      "folder：应为 {root}/ 中文件夹的名称，实际是 {found}。现有：{offered}。"],
    ["{folder}/ has no {file}. Expected one JSON per line, {example}; or choose a method,"
      + " which makes the hints from the pictures of the folder.",
      "{folder}/ 中没有 {file}。应为每行一个 JSON：{example}；或选择方法，由文件夹中的图像生成提示图。"],
    ["{folder}/ has no pictures: expected files ending in {suffixes}.",
      "{folder}/ 中没有图像：应为以 {suffixes} 结尾的文件。"],
    ["prompts: expected one line, or one for each of {count} pictures, found {found}",
      "prompts：应为一行，或 {count} 张图各一行，实际是 {found} 行"],
    ["hint: expected as many as targets, {count}, found {found}",
      "hint：数量应与目标图相同，即 {count}，实际是 {found}"],
    ["width and height: expected multiples of {multiple}, found {found}",
      "宽和高：应为 {multiple} 的倍数，实际是 {found}"],
    ["method: {method} with these settings gives the picture itself as its hint, so a net"
      + " would learn to copy. Choose another method or other settings, or connect hints.",
      "method：{method} 在这些设置下给出的提示图就是图像本身，网络只会学会复制。请选择其他方法或设置，或连接提示图。"],
    ["method: {method} with these settings gives hints of one colour only, which say"
      + " nothing. Choose another method or other settings, or connect hints.",
      "method：{method} 在这些设置下只给出单色提示图，不含信息。请选择其他方法或设置，或连接提示图。"],
    ["{count} of {total} pairs cannot be used: {faults}. First: {examples}. {remedy}",
      "{total} 对中有 {count} 对无法使用：{faults}。最先的：{examples}。{remedy}"],
    ["the data set is empty: expected at least one pair of pictures", "数据集为空：应至少有一对图像"],
    ["{count} pictures of another size are scaled and cropped to it ({enlarged} of them"
      + " enlarged)",
      "{count} 张其他尺寸的图像会缩放并裁剪到该尺寸（其中 {enlarged} 张被放大）"],
    ["{count} prompts are empty", "{count} 个提示词为空"],
    ["left out: {faults} (first: {examples})", "已略去：{faults}（最先的：{examples}）"],
    ["{file} is the caption of {count} pictures", "{file} 是 {count} 张图像的说明"],
    ["{count} hints are of one colour", "{count} 张提示图是单色的"],
    ["{count} hints are the picture itself", "{count} 张提示图就是图像本身"],
    ["{count} targets are grey and their hints coloured: are source and target swapped?",
      "{count} 张目标图是灰色的，而提示图是彩色的：source 和 target 是否互换了？"],
    ["name: {file} is there already. Choose another name, or switch overwrite on.",
      "name：{file} 已存在。请选择其他名称，或打开 overwrite。"],
    ["control_net: {count} of its weights are not finite in {precision}, such as {key}."
      + " Choose precision fp32; if that is refused too, the training diverged: lower its"
      + " learning_rate.",
      "control_net：有 {count} 个权重在 {precision} 下不是有限值，例如 {key}。请选择精度 fp32；若仍被拒绝，说明训练已发散：请降低"
        + " learning_rate。"],
    ["the {what} is {value} at step {step}.", "第 {step} 步的 {what} 是 {value}。"],
    ["the checkpoint belongs to another net: {count} weights do not fit, such as {key}",
      "检查点属于另一个网络：有 {count} 个权重不匹配，例如 {key}"],
    ["control_net: {net} cannot be trained for this model ({base}): {count} of its weights"
      + " do not fit, such as {key}. Connect a ControlNet of the same base.",
      "control_net：{net} 不能为此模型（{base}）训练：有 {count} 个权重不匹配，例如 {key}。请连接同一基础模型的 ControlNet。"],
    ["control_net: expected a ControlNet of {bases}, found {found}",
      "control_net：应为 {bases} 的 ControlNet，实际是 {found}"],
    ["model: its weight {key} was not found, so its encoder cannot be copied. Load the"
      + " plain fp16 or fp32 checkpoint instead of a converted one.",
      "model：未找到权重 {key}，无法复制其编码器。请加载普通的 fp16 或 fp32 检查点，而不是转换过的。"],
    ["checkpoint: {file} comes from {faults}, so it cannot be resumed here. Choose another"
      + " name, or delete the file to start over.",
      "checkpoint：{file} 来自{faults}，不能在此继续训练。请选择其他名称，或删除该文件重新开始。"],
    ["checkpoint: {file} needs {size} MB, {free} MB are free in {folder}. Free space, or"
      + " leave checkpoint empty.",
      "checkpoint：{file} 需要 {size} MB，{folder} 中空闲 {free} MB。请腾出空间，或让 checkpoint 留空。"],
    ["No checkpoint was asked for, so begin again.", "没有设置检查点，请重新开始。"],
    ["{file} was not written yet, so begin again.", "{file} 尚未写出，请重新开始。"],
    ["{file} itself has diverged: delete it and begin again.", "{file} 本身已发散：请删除它并重新开始。"],
    ["{file} itself has diverged: delete it, and rename {older} ({steps} steps) to {file}"
      + " to continue from there.",
      "{file} 本身已发散：请删除它，并把 {older}（{steps} 步）改名为 {file}，从那里继续。"],
    ["{file} is as it was after step {step}: queue again to continue from there.",
      "{file} 保持第 {step} 步之后的状态：再次排队即可从那里继续。"],
    ["Encoding the data set ran out of memory before the first step: make its pictures"
      + " smaller (now {size}), or free memory that other programs use. ({error})",
      "编码数据集时内存不足，第一步尚未开始：请缩小其中的图片（现为 {size}），或释放其他程序占用的内存。（{error}）"],
    ["Training ran out of memory. Try, in this order: {remedies}.{saved} ({error})",
      "训练内存不足。请依次尝试：{remedies}。{saved}（{error}）"],
    ["{file} has {steps} steps already, more than the {asked} asked for: the net is that"
      + " of {steps} steps.",
      "{file} 已有 {steps} 步，多于要求的 {asked} 步：得到的是 {steps} 步的网络。"],
    ["net of {steps} steps", "{steps} 步的网络"],
  ],
};

// What its sentences are assembled of.
export const phrases = {
  zh: [
    ["of another shape than their hint", "与其提示图形状不同"],
    ["of another shape than their hint: {detail}", "与其提示图形状不同：{detail}"],
    ["too large: {detail}", "太大：{detail}"],
    ["damaged: {detail}", "已损坏：{detail}"],
    ["unreadable: {detail}", "无法读取：{detail}"],
    ["missing: {detail}", "缺失：{detail}"],
    ["{picture_file} claims {pixels} pixels in {bytes} bytes",
      "{picture_file} 声称在 {bytes} 字节中有 {pixels} 像素"],
    ["{picture_file} is {size}, its hint {hint}", "{picture_file} 为 {size}，其提示图为 {hint}"],
    ["{picture_file} has no pixels, or values that are not finite",
      "{picture_file} 没有像素，或含有非有限的值"],
    ["the data set", "数据集"],
    ["Repair them, or switch leave_out on.", "请修复它们，或打开 leave_out。"],
    ["Repair them.", "请修复它们。"],
    ["{count} too large", "{count} 张太大"],
    ["{count} damaged", "{count} 张已损坏"],
    ["{count} unreadable", "{count} 张无法读取"],
    ["{count} missing", "{count} 张缺失"],
    ["{count} of another shape than their hint", "{count} 张与其提示图形状不同"],
    ["{count} outside the data set's folder", "{count} 张在数据集文件夹之外"],
    ["{count} prompts that are not UTF-8 text", "{count} 个提示词不是 UTF-8 文本"],
    ["another base model", "另一个基础模型"],
    ["another data set", "另一个数据集"],
    ["another net to begin with", "另一个起始网络"],
    ["another choice of train_decoder", "不同的 train_decoder 选择"],
    ["Lower learning_rate (now {rate})", "降低 learning_rate（现为 {rate}）"],
    ["choose precision fp32", "选择精度 fp32"],
    ["set max_grad_norm to 1", "把 max_grad_norm 设为 1"],
    ["raise warmup_steps", "提高 warmup_steps"],
    ["lower batch_size (now {size}) and raise accumulation by the same factor",
      "降低 batch_size（现为 {size}），并按同样倍数提高 accumulation"],
    ["switch gradient_checkpointing on", "打开 gradient_checkpointing"],
    ["choose precision bf16", "选择精度 bf16"],
    ["switch train_decoder off", "关闭 train_decoder"],
    ["make the data set's pictures smaller (now {size})", "缩小数据集的图像（现为 {size}）"],
    ["{steps} steps are saved in the checkpoint", "检查点中已保存 {steps} 步"],
  ],
};
