"""Build guiders of ComfyUI with a positive, a negative and a third prompt."""

from __future__ import annotations

from typing import Any


def cfg(model: Any, positive: Any, negative: Any, _other: Any) -> Any:
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(5.0)
    return guider


def dual_cfg(model: Any, positive: Any, negative: Any, other: Any) -> Any:
    from comfy_extras.nodes_custom_sampler import Guider_DualCFG

    guider = Guider_DualCFG(model)
    guider.set_conds(positive, other, negative)
    guider.set_cfg(5.0, 3.0)
    return guider


def perp_neg(model: Any, positive: Any, negative: Any, other: Any) -> Any:
    from comfy_extras.nodes_perpneg import Guider_PerpNeg

    guider = Guider_PerpNeg(model)
    guider.set_conds(positive, negative, other)
    guider.set_cfg(5.0, 1.0)
    return guider
