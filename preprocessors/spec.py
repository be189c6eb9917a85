"""What a preprocessor is: a name, its parameters, the weights it may need, and a function from
pictures to hints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor
from torch.nn import Module

Value = int | float | bool | str
Progress = Callable[[int, int], None]
"""`progress(done, total)` in frames, called in the caller's thread; what it raises ends the work.
"""


@dataclass(frozen=True)
class Param:
    """One setting. The type of `default` is its type; `choices` makes it a list of names; a str
    without them is free text, and for numbers the bounds count.
    """

    name: str
    default: Value
    tooltip: str
    minimum: float = 0
    maximum: float = 255
    step: float = 1
    choices: tuple[str, ...] = ()
    is_appended: bool = False
    """Whether nodes have it as an optional input after all others: what is added to a row that was
    public without.
    """

    @property
    def is_text(self) -> bool:
        return isinstance(self.default, str) and not self.choices

    def checked(self, value: Value) -> Value:
        """`value` itself; raises ValueError where it is no choice, no text, or lies outside the
        bounds.
        """
        if self.choices:
            if value not in self.choices:
                raise ValueError(
                    f"{self.name} is {value!r}: choose one of {', '.join(self.choices)}"
                )
        elif self.is_text:
            if not isinstance(value, str):
                raise ValueError(f"{self.name} is {value!r}: give a text")
        elif (
            isinstance(value, str) or not self.minimum <= value <= self.maximum
        ):  # NaN is in no range
            raise ValueError(
                f"{self.name} is {value!r}: give a number from {self.minimum:g} to {self.maximum:g}"
            )
        return value


StateDict = Mapping[str, Tensor]
Outputs = Tensor | tuple[Tensor, ...]
"""One tensor or several, each with a row for every frame."""
Forward = Callable[[Any, Tensor], Outputs]
"""`forward(net, frames)`: frames (b,C,H,W) float on the net's device and in its dtype → outputs
with b rows.
"""


@dataclass(frozen=True)
class Weights:
    """A file of trained weights: where it comes from and the network that it fills."""

    file: str
    """Its name in our folder of the host's models."""
    repo: str
    """`owner/name` on the hub."""
    module: Callable[[], Module]
    """The network with fresh weights, of the file's own architecture."""
    licence: str
    restricted: bool = False
    """Whether the licence restricts use, so that it is shown before the download."""
    sha256: str = ""
    size_bytes: int = 0
    revision: str = "main"
    remote: str = ""
    """Its path in the repository, where that is not `file`."""
    also: tuple[str, ...] = ()
    """Other names under which users have the same network, in this layout of keys."""
    bytes_per_px: int = 4096
    """Working memory for one pixel of one frame in float32, an upper bound; it decides how large a
    chunk is.
    """
    half: bool = True
    """Whether fp16 stays within one 8-bit level of float32."""
    renamed: Callable[[StateDict], StateDict] | None = None
    """From the file's keys to the network's, where they differ; raises ValueError where they are
    another network's.
    """
    opened: Callable[[str], Module] | None = None
    """For a file that holds its own graph (TorchScript, ONNX): opens the file of that path as a
    network, which is run as it is; raises ValueError where the file is no such thing. `module`
    makes a stand-in of the same input and output.
    """
    package: str = ""
    """What must be importable for that and comes neither with the host nor with us."""
    beside: tuple[Weights, ...] = ()
    """Other files that the engine runs with this one."""


class Networks(Protocol):
    """Runs networks. One call is one network over one batch."""

    def run(
        self,
        weights: Weights,
        frames: Tensor,
        forward: Forward,
        *,
        px_per_frame: int = 0,
        progress: Progress | None = None,
    ) -> Outputs:
        """`forward(net, chunk)` for chunks of (B,...) float frames, put together in float32 on the
        CPU.

        A chunk arrives on the net's device, in float32: `images.through` casts it. `px_per_frame`,
        where given, is what the net sees of a frame. `progress(done, B)` is called before, between
        and after chunks; what it raises ends the work. Raises RuntimeError where the weights cannot
        be had, in a sentence that says how to get them.
        """
        ...


@dataclass(frozen=True)
class Port:
    """An input, or an output after the hint, that a method has beside pictures: `kind` is the
    host's type.
    """

    name: str
    kind: str
    tooltip: str
    is_required: bool = False
    """Whether its own node refuses to run without it; the function behind takes None all the same.
    """


@dataclass(frozen=True)
class Preprocessor:
    """A row of the catalogue. `run(image, *, resolution, progress, **params)` is the function
    behind it.

    Where `weights` has entries, `run` takes `networks` too; where `inputs` has, it takes each by
    its name (None where nothing is connected). It gives the hint, or, where `outputs` has entries,
    a tuple of the hint and each of them.
    """

    key: str
    title: str
    summary: str
    run: Callable[..., Tensor | tuple[Any, ...]]
    params: tuple[Param, ...]
    aliases: tuple[str, ...] = ()
    grey: bool = True
    """Whether the three channels of its hints are always equal."""
    weights: Mapping[str, Weights] = field(default_factory=dict[str, Weights])
    """The file that each engine needs; an engine that is not here needs none."""
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()

    def __call__(self, image: Tensor, **given: Any) -> Tensor:
        """(B,H,W,C) in [0,1] → the hint alone, (B,h,w,3); what can be given and what it raises is
        as `full` says.
        """
        return self.full(image, **given)[0]

    def full(
        self,
        image: Tensor,
        *,
        resolution: int = 0,
        progress: Progress | None = None,
        networks: Networks | None = None,
        **values: Any,
    ) -> tuple[Any, ...]:
        """(B,H,W,C) in [0,1] → the hint (B,h,w,3) in [0,1] and what `outputs` lists; params not
        given take defaults.

        Raises ValueError for a parameter that does not exist or is out of bounds, for what no
        picture can be, and for an engine that needs weights where there are no `networks`.
        """
        ports = {port.name: values.pop(port.name, None) for port in self.inputs}
        if unknown := values.keys() - {param.name for param in self.params}:
            known = ", ".join(param.name for param in self.params)
            raise ValueError(
                f"{self.title} has no parameter {', '.join(sorted(unknown))}: it knows {known}"
            )
        given = {
            param.name: param.checked(values.get(param.name, param.default))
            for param in self.params
        }
        more: dict[str, Any] = {**ports, "networks": networks} if self.weights else ports
        made = self.run(image, resolution=resolution, progress=progress, **given, **more)
        return made if isinstance(made, tuple) else (made,)
