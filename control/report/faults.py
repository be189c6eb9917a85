"""Steps at which values were not finite, and the sentences that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .journal import Journal


@dataclass(frozen=True)
class Faults:
    """Steps of a member's last run, counted from 0.

    `left_out`: the net's residuals were not finite. `broken`: the latent itself was not, before any
    net ran, so the net is not to blame. `steps`: of the whole run.
    """

    left_out: tuple[int, ...] = ()
    broken: tuple[int, ...] = ()
    steps: int = 0


def faults_of(journal: Journal, sigmas: Sequence[float] = ()) -> Faults:
    """Read a journal; waits for the devices. `sigmas`: of the run's steps, if others tell more."""
    sigmas = sigmas or steps_of([journal])
    # The latent first: residuals of a broken latent are broken too.
    broken = {call.sigma for call in journal.calls if _is_false(call.latent_is_finite)}
    left_out = {call.sigma for call in journal.calls if _is_false(call.is_finite)} - broken
    return Faults(_numbers(left_out, sigmas), _numbers(broken, sigmas), len(sigmas))


def _is_false(flag: object) -> bool:
    return flag is not None and not flag


def steps_of(journals: Sequence[Journal]) -> tuple[float, ...]:
    """Collect the sigmas of all steps. Sampling goes from noise to picture, so they fall."""
    sigmas: set[float] = set()
    for journal in journals:
        sigmas.update(journal.off, (call.sigma for call in journal.calls))
    return tuple(sorted(sigmas, reverse=True))


def _numbers(some: set[float], sigmas: Sequence[float]) -> tuple[int, ...]:
    return tuple(step for step, sigma in enumerate(sigmas) if sigma in some)


# -- sentences -------------------------------------------------------------------------------------


def net_sentence(net: str, faults: Faults, broken_weight: str | None) -> str:
    """Say that a net was left out, and what to do; "" where all its residuals were finite.

    `broken_weight`: the first that is not finite, "" where all are, None where nobody has looked.
    """
    if not faults.left_out:
        return ""
    if broken_weight is None:
        advice = "Download it again, or start ComfyUI with --force-fp32."
    elif broken_weight:
        advice = f"Its weights contain such values (first: {broken_weight}): download it again."
    else:
        advice = (
            "Its weights are finite, so numbers become too large on the way: start ComfyUI with"
            " --force-fp32 (--fp32-vae where the VAE encodes the hint)."
        )
    return (
        f"{net} gives values that are not finite (NaN or infinity) at"
        f" {in_words(faults.left_out)} of {faults.steps}. It was left out there, so the picture"
        f" lacks its control. {advice}"
    )


def latent_sentence(faults: Faults) -> str:
    """Say that the latent was broken before any net ran; "" where it was finite."""
    if not faults.broken:
        return ""
    return (
        f"The latent is not finite (NaN or infinity) from step {faults.broken[0] + 1} of"
        f" {faults.steps} on, before any ControlNet of this stack ran. Check the model, its LoRAs,"
        " the latent that goes into the sampler and the controls of other nodes, or start ComfyUI"
        " with --force-fp32."
    )


def in_words(steps: Sequence[int]) -> str:
    """Name steps, counted from 1: "step 3", "steps 1 to 4, 7"."""
    runs: list[list[int]] = []
    for step in steps:
        if runs and runs[-1][-1] == step - 1:
            runs[-1].append(step)
        else:
            runs.append([step])
    words = [f"{run[0] + 1} to {run[-1] + 1}" if len(run) > 1 else f"{run[0] + 1}" for run in runs]
    return ("step " if len(steps) == 1 else "steps ") + ", ".join(words)
