// Rows of sentences.js for stacks, their settings and the Control Report:
// [English, other], the special before the general.

// What the server says.
export const sentences = {
  zh: [
    ["schedule: this sampler does not report its steps, so positions such as '6s' cannot"
      + " be used. Use fractions of sampling instead, such as 0.5.",
      "schedule：此采样器不报告步数，不能使用 '6s' 这样的位置。请改用采样进度的比例，例如 0.5。"],
    ["{net} has no type {type}: choose 'auto' or one of {choices}",
      "{net} 没有类型 {type}：请选 'auto' 或以下之一：{choices}"],
    ["{net} has no union types to choose from: leave union_type at 'auto'. It was trained"
      + " on one kind of hint, or tells kinds apart by the picture alone.",
      "{net} 没有可选的联合类型：请让 union_type 保持 'auto'。它只用一种提示图训练，或仅凭图像分辨类型。"],
    ["{net} takes one type at a time, found {types}: choose one, and add the net once more"
      + " for each of the others",
      "{net} 每次只接受一个类型，实际是 {types}：请选一个，其余类型各再添加一次该网络"],
    ["union_type names {types} types, so image needs as many hints for each of them: all"
      + " of the first type, then all of the next. Found {found} hints: give a multiple of"
      + " {types}, or one for all types.",
      "union_type 写了 {types} 个类型，因此 image 中每个类型需要同样多的提示图：先是第一个类型的全部，再是下一个。实际有 {found}"
        + " 张：请给出 {types} 的倍数，或一张用于所有类型。"],
    ["{net} encodes its hint with the VAE: connect the model's VAE to Apply ControlNet"
      + " Stack",
      "{net} 用 VAE 编码提示图：请把模型的 VAE 接到“应用 ControlNet 堆栈”"],
    ["{net} is an inpainting net: connect inpaint_mask of Add ControlNet (white = the area"
      + " to inpaint)",
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
    ["reuse: expected a number of steps from {least} to {most}, found {found}",
      "reuse：应为 {least} 到 {most} 的步数，实际是 {found}"],
    ["{net} was trained on {condition}, but this hint is of another kind: {other}",
      "{net} 是用 {condition} 训练的，但这张提示图属于另一种：{other}"],
    ["ControlNet {net} was trained on {condition}, and {title} makes {other}: {advice}, or"
      + " disconnect control_net if you mean it",
      "ControlNet {net} 是用 {condition} 训练的，而“{title}”生成的是 {other}：{advice}；若确实要这样，请断开"
        + " control_net"],
    ["{net}: modes {soft}, layers and effect_mask need to know how a net's residuals lie,"
      + " and this pack does not know nets of this class. Use mode {exact} and leave layers"
      + " and effect_mask empty.",
      "{net}：模式 {soft}、layers 和 effect_mask 需要知道网络残差的排列，而本插件不认识这一类网络。请使用模式 {exact}，并让"
        + " layers 和 effect_mask 留空。"],
    ["{net} uses an inpaint_mask for its type {type} only: add it to union_type",
      "{net} 仅在类型 {type} 时使用 inpaint_mask：请把该类型加到 union_type"],
    ["Control Stack: the context window has {frames} frames, but {entries} latents came"
      + " for it, so their hints cannot be told. Use ComfyUI's Context Windows node or"
      + " AnimateDiff-Evolved's without other nodes that change a window's frames, or sample"
      + " the clip without windows.",
      "Control Stack：上下文窗口有 {frames} 帧，却收到 {entries} 个潜变量，无法判断各自的提示图。请使用 ComfyUI 或"
        + " AnimateDiff-Evolved 的上下文窗口节点，不要再用其他会改变窗口帧的节点，或不使用窗口采样。"],
    ["fit 'region': the prompt's area reaches to {area} pixels, the hint is {size}. Use a"
      + " hint of the picture's size, or set the area in percent.",
      "fit 'region'：提示词的区域延伸到 {area} 像素，而提示图为 {size}。请使用与图像同尺寸的提示图，或用百分比设置区域。"],
    ["effect_mask: expected {expected} tokens for a latent of {size}, but the ControlNet"
      + " gives {count}. Leave effect_mask empty for this net.",
      "effect_mask：{size} 的潜变量应有 {expected} 个 token，而该 ControlNet 给出 {count} 个。对此网络请让"
        + " effect_mask 留空。"],
    ["modes 'control' and 'cond_only': the positive prompt has an area and the guider has"
      + " more than two prompts, so Apply ControlNet Stack must see the negative to tell them"
      + " apart. Connect it to Apply ControlNet Stack, or use mode 'balanced'.",
      "模式 'control' 和 'cond_only'：正面提示词有区域，且引导器有两个以上的提示词，“应用 ControlNet"
        + " 堆栈”需要负面条件才能区分它们。请把负面条件接到该节点，或使用模式 'balanced'。"],
    ["schedule: expected a curve's points with x from 0 to 1 and y from 0 to 10, found"
      + " {found}",
      "schedule：曲线各点的 x 应为 0 到 1，y 应为 0 到 10，实际是 {found}"],
    ["schedule: expected a text or a curve's points (x, y), found {found}",
      "schedule：应为文本或曲线的点 (x, y)，实际是 {found}"],
    ["schedule: this run begins after {percent} of sampling, and ComfyUI does not tell"
      + " whether steps came before it, so its first step counts as step 0. For positions in"
      + " the whole of sampling, use fractions such as 0.5 instead of steps.",
      "schedule：本次运行从采样的 {percent} 之后开始，而 ComfyUI 不说明之前是否已有步，因此其第一步算作第 0 步。要指整个采样中的位置，请用"
        + " 0.5 这样的比例代替步数。"],
    ["union_type: this tiler deals several hints to the rows of its tiles, so they cannot"
      + " be told apart by type. Use one hint for all types, or a unit for each.",
      "union_type：此分块采样节点把多张提示图分给各分块，无法按类型区分。请用一张提示图对应所有类型，或每个类型各添加一次。"],
    ["ControlNet-LLLite: the model's block {block} has {count} tokens, and the hint was made"
      + " for {expected}. Another node changes the size of the picture inside the model (a deep"
      + " shrink, merged tokens): remove it, or this ControlNet.",
      "ControlNet-LLLite：模型的块 {block} 有 {count} 个 token，而提示图是为 {expected} 个生成的。另有节点改变了模型内部的图像"
        + "大小（deep shrink 或合并 token）：请移除该节点，或移除此 ControlNet。"],
    ["this tiler fits hints itself, which only works for nets that add to the model's"
      + " blocks. Use Ultimate SD Upscale, or sample without a tiler.",
      "此分块采样节点自行适配提示图，这只适用于在模型各块上叠加残差的网络。请使用 Ultimate SD Upscale，或不用分块采样。"],
    ["Control Stack: a tiler cut the hint of '{net}', but not {masks} with it: expected"
      + " {expected} channels, found {channels}. Tilers that cut pictures of any number of"
      + " channels can do it, as Ultimate SD Upscale and Tiled Diffusion do. Leave"
      + " effect_mask and inpaint_mask empty, or sample without this tiler.",
      "Control Stack：分块采样节点裁切了 '{net}' 的提示图，却没有一同裁切 {masks}：应有 {expected} 个通道，实际是"
        + " {channels}。能裁切任意通道数图像的分块节点可以做到，例如 Ultimate SD Upscale 和 Tiled Diffusion。请让"
        + " effect_mask 和 inpaint_mask 留空，或不使用此分块节点。"],
    ["Control Stack: a tiler sampled a batch of {rows} rows that are not whole tiles of"
      + " {chunks} prompts with {latents} latents each, so the prompts cannot be told apart."
      + " Set its tile batch size to 1, or use mode 'balanced' without masks and"
      + " frame_strength.",
      "Control Stack：分块采样节点的批次有 {rows} 行，不是 {chunks} 个提示词（每个 {latents}"
        + " 个潜变量）的完整分块，无法区分提示词。请把分块批次大小设为 1，或使用模式 'balanced' 且不用遮罩和 frame_strength。"],
    ["stack: expected a CONTROL_STACK, or a CONTROL_NET_STACK of (control_net, image,"
      + " strength, start, end), found {found}",
      "stack：应为 CONTROL_STACK，或由 (control_net, image, strength, start, end) 组成的"
        + " CONTROL_NET_STACK，实际是 {found}"],
    ["image: expected (batch, height, width, 3), found {found}",
      "image：应为 (批次, 高, 宽, 3)，实际是 {found}"],
    ["image: expected at least one picture with at least one pixel, found {found}",
      "image：应至少有一张含至少一个像素的图，实际是 {found}"],
    ["{name}: expected a finite number, found {value}", "{name}：应为有限的数，实际是 {value}"],
    ["{net} gives values that are not finite (NaN or infinity) at {steps} of {total}. It"
      + " was left out there, so the picture lacks its control. {advice}",
      "{net} 在 {steps}（共 {total} 步）给出非有限的值（NaN 或无穷大）。在那里已略去它，因此图像缺少其控制。{advice}"],
    ["The latent is not finite (NaN or infinity) from step {step} of {total} on, before"
      + " any ControlNet of this stack ran. Check the model, its LoRAs, the latent that goes"
      + " into the sampler and the controls of other nodes, or start ComfyUI with"
      + " --force-fp32.",
      "潜变量从第 {step} 步（共 {total} 步）起就不是有限值（NaN 或无穷大），此时本堆栈的 ControlNet 尚未运行。请检查模型、其"
        + " LoRA、送入采样器的潜变量和其他节点的控制，或用 --force-fp32 启动 ComfyUI。"],
    ["{name}: {count} of {total} residuals were not added, because the model has other"
      + " sizes there. Model patches such as Deep Shrink change sizes.",
      "{name}：{total} 个残差中有 {count} 个未叠加，因为模型在该处的尺寸不同。Deep Shrink 等模型补丁会改变尺寸。"],
    ["{net}: what it gave was reused at {reused} of {calls} calls.",
      "{net}：{calls} 次调用中有 {reused} 次复用了先前的结果。"],
    ["{net}: what was reused was off by {off} at most, at step {step}.",
      "{net}：复用的结果偏差最多 {off}（第 {step} 步）。"],
    ["{net}: {rows} rows of the negative got the positive's control.",
      "{net}：负面提示词的 {rows} 行使用了正面提示词的控制。"],
    ["{net}: {calls} calls ran in one forward with others of the same net.",
      "{net}：{calls} 次调用与同一网络的其他提示图一起运行。"],
    ["{net}: {layers} layers were merged with the model's weights.",
      "{net}：{layers} 层已与模型权重合并。"],
    ["{net}: with speed 'approximate', what was reused was off by {off} % at step {step}, more"
      + " than {limit} %. Lower reuse in Apply ControlNet Stack, take more steps, or choose speed"
      + " 'fast'.",
      "{net}：在 approximate 下，复用的结果在第 {step} 步偏差 {off} %，超过 {limit} %。请在“应用 ControlNet"
        + " 堆栈”中减小复用步数，增加采样步数，或选择 fast。"],
    ["{name} could not be measured ({error}). The picture is not affected.",
      "无法测量 {name}（{error}）。图像不受影响。"],
    ["Control report: {summary} (run {run} of this stack)",
      "控制报告：{summary}（此堆栈的第 {run} 次运行）"],
    ["Control report: this positive has no ControlNets from Apply ControlNet Stack.",
      "控制报告：此正面条件不含来自“应用 ControlNet 堆栈”的 ControlNet。"],
    ["Control report: nothing has been sampled with this stack yet. Connect the same"
      + " positive that feeds the sampler, and the latent that comes out of the sampler.",
      "控制报告：尚未用此堆栈采样。请连接送入采样器的同一个正面条件，以及采样器输出的潜变量。"],
    ["Control report: it could not be written ({error}). The latent and the picture are"
      + " not affected. ComfyUI's log has the details.",
      "控制报告：无法写出（{error}）。潜变量和图像不受影响，详情见 ComfyUI 的日志。"],
    ["x: computed, but not added, because the model has another size there (Deep Shrink"
      + " changes sizes) or the net was left out of that step. nan: not a finite value.",
      "x：已计算但未叠加，因为模型在该处的尺寸不同（Deep Shrink 会改变尺寸），或该步略去了此网络。nan：非有限的值。"],
    ["size: norm of the net's residual over the norm of the block that it is added to, in"
      + " the rows that the net computed.",
      "大小：网络残差的范数除以被叠加块的范数，只计网络算过的行。"],
    ["all: root mean square. feat: a T2I-Adapter's feature, over the block with the"
      + " feature added.",
      "全部：均方根。特征：T2I-Adapter 的特征，除以加上该特征后的块。"],
    ["blk: a block of the net, counted from 1 as in layers, over all blocks of the model"
      + " where it acts.",
      "块：网络自身的块，与层权重一样从 1 数起，除以它起作用的模型所有块。"],
    ["ran, off: calls of the net, and calls left out by range, schedule or mode. rows:"
      + " batch rows computed, of both prompts.",
      "运行、略去：网络的调用次数，以及因范围、时间曲线或模式而略去的次数。行：算过的批次行，含两个提示词。"],
    ["hints: prepared = fitted and encoded, reused = taken from the cache. ms: of one call.",
      "提示图：准备 = 已适配并编码，复用 = 取自缓存。毫秒：每次调用的时间。"],
    ["ControlNet {name} ({net_kind}) does not fit the model, which is {model_kind}. Choose"
      + " a ControlNet made for {model_kind}, or change the model to {target}.",
      "ControlNet {name}（{net_kind}）与模型（{model_kind}）不匹配。请选择为 {model_kind} 制作的"
        + " ControlNet，或把模型换成 {target}。"],
    ["union_type is 'auto', but {reason}: choose one of {choices}, or the net runs without"
      + " a type",
      "union_type 是 'auto'，但{reason}：请选以下之一：{choices}，否则该网络不带类型运行"],
  ],
};

// What its sentences are assembled of.
export const phrases = {
  zh: [
    ["{kind}, but with {count} blocks of other widths", "{kind}，但有 {count} 个块宽度不同"],
    ["{kind}, {width} wide", "{kind}，宽 {width}"],
    ["the {base} that it was made for", "它所对应的 {base}"],
    ["1 ControlNet", "1 个 ControlNet"],
    ["{count} ControlNets", "{count} 个 ControlNet"],
    ["1 step", "1 步"],
    ["{count} steps", "{count} 步"],
    ["{ms} ms per step", "每步 {ms} 毫秒"],
    ["steps {list}", "第 {list} 步"],
    ["step {list}", "第 {list} 步"],
    ["a position not before {place}", "不早于 {place} 的位置"],
    ["nothing after 'resolution'", "'resolution' 之后不写内容"],
    ["a single type without a weight (use strength)", "不带权重的单个类型（请用强度）"],
    ["Download it again, or start ComfyUI with --force-fp32.",
      "请重新下载，或用 --force-fp32 启动 ComfyUI。"],
    ["Its weights contain such values (first: {weight}): download it again.",
      "其权重含有这样的值（第一个：{weight}）：请重新下载。"],
    ["Its weights are finite, so numbers become too large on the way: start ComfyUI with"
      + " --force-fp32 (--fp32-vae where the VAE encodes the hint).",
      "其权重是有限的，是计算中数值过大：请用 --force-fp32 启动 ComfyUI（若由 VAE 编码提示图，则用 --fp32-vae）。"],
    ["this hint does not come straight from a preprocessor, which would say its type",
      "这张提示图不是直接来自预处理器，无从得知其类型"],
    ["this net has no type for this hint ({condition})", "该网络没有对应这张提示图（{condition}）的类型"],
    ["this pack has no method that makes them", "本插件没有生成它的方法"],
    ["choose method {method} with {param} {value}", "请选择方法 {method}，{param} 设为 {value}"],
    ["choose method {method}", "请选择方法 {method}"],
  ],
};
