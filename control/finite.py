"""Residuals that are not finite are left out, so that they never reach the picture.

One NaN in one residual makes a black picture of all later steps. Whether a net's residuals are
finite is decided and used on its device, so that sampling waits for nothing: the answer is read
when the run has ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .residuals import Residuals, each

LATENT = "controlstack_latent"  # entry of transformer_options: (x, whether it is finite)


def are_finite(norms: Iterable[Tensor]) -> Tensor:
    """Whether residuals with these norms, (rows,) each, are finite: a truth value on their device.

    A norm is NaN or infinite where one of its values is.
    """
    different = {id(norm): norm for norm in norms}
    return torch.cat(list(different.values())).isfinite().all()


def latent_is_finite(x: Tensor, options: dict[str, Any]) -> Tensor:
    """Whether the latent was finite before any net ran; computed once for a chain."""
    answer = options.get(LATENT)
    if answer is None or answer[0] is not x:
        answer = options[LATENT] = (x, x.isfinite().all())
    return answer[1]


def only_finite(own: Residuals, is_finite: Tensor, *, in_place: bool) -> Residuals:
    """Return the residuals where `is_finite`, else zeros.

    `in_place`: whether the tensors may be written to, which saves their memory.
    """
    broken = ~is_finite

    def zeroed(residual: Tensor) -> Tensor:
        if in_place:
            return residual.masked_fill_(broken, 0.0)
        return residual.masked_fill(broken, 0.0)

    return each(own, zeroed)
