"""What a preprocessor is: a name, its parameters and a function from pictures to hints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Value = int | float | bool | str
Progress = Callable[[int, int], None]
"""`progress(done, total)` in frames, called in the caller's thread; what it raises ends the work."""


@dataclass(frozen=True)
class Param:
    """One setting. The type of `default` is its type; `choices` makes it a list of names, else the bounds count."""

    name: str
    default: Value
    tooltip: str
    minimum: float = 0
    maximum: float = 255
    step: float = 1
    choices: tuple[str, ...] = ()

    def checked(self, value: Value) -> Value:
        """`value` itself; raises ValueError where it is no choice or lies outside the bounds."""
        if self.choices:
            if value not in self.choices:
                raise ValueError(f"{self.name} is {value!r}: choose one of {', '.join(self.choices)}")
        elif isinstance(value, str) or not self.minimum <= value <= self.maximum:  # NaN is in no range
            raise ValueError(f"{self.name} is {value!r}: give a number from {self.minimum:g} to {self.maximum:g}")
        return value


@dataclass(frozen=True)
class Preprocessor:
    """A row of the catalogue. `run(image, *, resolution, progress, **params)` is the function behind it."""

    key: str
    title: str
    summary: str
    run: Callable[..., Tensor]
    params: tuple[Param, ...]
    aliases: tuple[str, ...] = ()
    grey: bool = True
    """Whether the three channels of its hints are always equal."""

    def __call__(
        self, image: Tensor, *, resolution: int = 0, progress: Progress | None = None, **values: Value
    ) -> Tensor:
        """(B,H,W,C) in [0,1] → (B,h,w,3) in [0,1]; parameters that are not given take their defaults.

        Raises ValueError for a parameter that does not exist or is out of bounds, and for what no picture can be.
        """
        if unknown := values.keys() - {param.name for param in self.params}:
            known = ", ".join(param.name for param in self.params)
            raise ValueError(f"{self.title} has no parameter {', '.join(sorted(unknown))}: it knows {known}")
        given = {param.name: param.checked(values.get(param.name, param.default)) for param in self.params}
        return self.run(image, resolution=resolution, progress=progress, **given)
