"""Define what a preprocessor is: a row of the catalogue, with its parameters, ports and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor
from torch.nn import Module

Value = int | float | bool | str
Progress = Callable[[int, int], None]
"""`progress(done, total)` in frames, called in the caller's thread; an exception ends the work."""


@dataclass(frozen=True)
class Param:
    """Declare one setting; the type of `default` is its type.

    `choices` makes it a list of names. A str without choices is free text. Numbers have bounds.
    """

    name: str
    default: Value
    tooltip: str
    minimum: float = 0
    maximum: float = 255
    step: float = 1
    choices: tuple[str, ...] = ()
    is_appended: bool = False
    """Whether it was added after its row was published: an optional input after all others, so that
    saved workflows keep their values."""

    @property
    def is_text(self) -> bool:
        """Tell whether any text is a value."""
        return isinstance(self.default, str) and not self.choices

    def checked(self, value: Value) -> Value:
        """Return `value`; raise ValueError unless it is a choice, a text or within the bounds."""
        if self.choices:
            if value not in self.choices:
                raise ValueError(
                    f"{self.name} is {value!r:.100}: choose one of {', '.join(self.choices)}"
                )
        elif self.is_text:
            if not isinstance(value, str):
                raise ValueError(f"{self.name} is {value!r:.100}: give a text")
        elif isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise ValueError(f"{self.name} is {value!r:.100}: give true or false")
        else:
            return self._checked_number(value)
        return value

    def _checked_number(self, value: Value) -> Value:
        whole = isinstance(self.default, int)
        # NaN is outside of every range
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and self.minimum <= value <= self.maximum
            and not (whole and value % 1)
        ):
            return int(value) if whole else float(value)
        least, most = f"{self.minimum:g}", f"{self.maximum:g}"
        if whole:
            sentence = f"{self.name} is {value!r:.100}: give a whole number from {least} to {most}"
        else:
            sentence = f"{self.name} is {value!r:.100}: give a number from {least} to {most}"
        raise ValueError(sentence)


ANNOTATORS, ANNOTATORS_COMMIT = "lllyasviel/Annotators", "982e7edaec38759d914a963c48c4726685de7d96"
"""The repository of most files that ControlNet's authors published, and its commit."""

StateDict = Mapping[str, Tensor]
Outputs = Tensor | tuple[Tensor, ...]
"""One tensor or several, each with one entry for every frame."""
Forward = Callable[[Any, Tensor], Outputs]
"""`forward(net, frames)`: frames (b,C,H,W) float on the net's device and in its dtype → outputs
with b entries.
"""


@dataclass(frozen=True)
class Weights:
    """Describe a file of trained weights: where it comes from and the network that it fills."""

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
    """Of the published file. A file that is `opened` must have it: its graph runs as a program."""
    size_bytes: int = 0
    revision: str = "main"
    """The commit of the repository; "main" only where no commit is known here."""
    remote: str = ""
    """Its path in the repository if that differs from `file`."""
    also: tuple[str, ...] = ()
    """Other names under which users have the same network, in this layout of keys."""
    bytes_per_px: int = 4096
    """Working memory per pixel of one frame in float32, an upper bound: sets the chunk size."""
    least_bytes_per_px: int = 256
    """The same, a lower bound: a frame that takes more than there is is refused."""
    half: bool = True
    """Whether fp16 stays within one 8-bit level of float32."""
    renamed: Callable[[StateDict], StateDict] | None = None
    """Maps the file's keys to the network's if they differ; raises ValueError for the keys of
    another network."""
    opened: Callable[[str], Module] | None = None
    """For a file that holds its own graph (TorchScript, ONNX): opens the file at that path as a
    network, which runs unchanged; raises ValueError for any other file. `module` then makes a
    stand-in with the same input and output."""
    package: str = ""
    """The Python package that it needs and that neither ComfyUI nor this pack installs."""
    beside: tuple[Weights, ...] = ()
    """Other files that the engine runs with this one."""


class Networks(Protocol):
    """Run networks. One call runs one network over one batch."""

    def run(
        self,
        weights: Weights,
        frames: Tensor,
        forward: Forward,
        *,
        px_per_frame: int = 0,
        progress: Progress | None = None,
    ) -> Outputs:
        """Call `forward(net, chunk)` on chunks of (B,...) float frames; join in float32 on the CPU.

        A chunk arrives on the net's device, in float32: `images.run_network` casts it.
        `px_per_frame`, if given, is the number of pixels per frame that the net reads.
        `progress(done, B)` is called before, between and after chunks; an exception ends the work.
        Raises RuntimeError if the weights are not available; its message says how to get them.
        """
        ...


@dataclass(frozen=True)
class Port:
    """Declare an input beside the picture, or an output after the hint.

    `kind` is ComfyUI's type, such as MASK.
    """

    name: str
    kind: str
    tooltip: str
    is_required: bool = False
    """Whether the method's own node requires it; the function behind accepts None all the same."""


@dataclass(frozen=True)
class ConditionBy:
    """Declare that a parameter decides which condition a method's hints belong to."""

    param: str
    conditions: Mapping[str, str]
    """From the parameter's value to the condition's key. Hints of other values have none."""


@dataclass(frozen=True)
class Preprocessor:
    """A row of the catalogue: everything that ComfyUI and the frontend learn about a method.

    `run(image, *, engine, …, resolution, progress, networks)` is the function behind it. It takes
    `networks` if `weights` has entries, and each of `inputs` by its name (None if unconnected). It
    returns the hint, or, if `outputs` has entries, a tuple of the hint and one value for each.
    """

    key: str
    """Its name in Preprocessor (any). Saved workflows hold it: it never changes."""
    node_id: str
    """Its node's id, which never changes either."""
    title: str
    summary: str
    run: Callable[..., Tensor | tuple[Any, ...]]
    params: tuple[Param, ...]
    conditions: tuple[str, ...] = ()
    """Keys of `files/conditions.py` whose ControlNets read its hints; the first is what a hint is
    marked with. Empty if no ControlNet is known to read them."""
    condition_by: ConditionBy | None = None
    """Set if a parameter, not the method alone, decides which of `conditions` a hint belongs to."""
    is_usual: bool = False
    """Whether it is suggested before the other methods of its conditions."""
    aliases: tuple[str, ...] = ()
    grey: bool = True
    """Whether the three channels of its hints are always equal."""
    plain_is_black: bool = True
    """Whether a picture of one colour gives a black hint, as edges, lines and people do."""
    weights: Mapping[str, Weights] = field(default_factory=dict[str, Weights])
    """The file that each engine needs; engines that are not listed need none."""
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()

    def __call__(self, image: Tensor, **given: Any) -> Tensor:
        """Return the hint (B,h,w,3) alone; arguments and errors are those of `full`."""
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
        """Turn pictures (B,H,W,C) in [0,1] into (the hint (B,h,w,3), *one value per `outputs`).

        Parameters that are not given take their defaults. Raises ValueError for a parameter that
        does not exist or is out of bounds, for a tensor that cannot be a picture, and for an engine
        that needs weights if there are no `networks`.
        """
        ports = {port.name: values.pop(port.name, None) for port in self.inputs}
        params = self.settled(values)
        loader = {"networks": networks} if self.weights else {}
        outputs = self.run(
            image, **params, **ports, resolution=resolution, progress=progress, **loader
        )
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def settled(self, values: Mapping[str, Any]) -> dict[str, Value]:
        """Return every parameter, checked, with its default where `values` has none.

        Raises ValueError as `full` does.
        """
        if unknown := values.keys() - {param.name for param in self.params}:
            raise ValueError(
                f"{self.title} has no parameter {', '.join(sorted(unknown))}: choose from"
                f" {', '.join(param.name for param in self.params)}"
            )
        return {
            param.name: param.checked(values.get(param.name, param.default))
            for param in self.params
        }

    def condition(self, params: Mapping[str, Value]) -> str:
        """Return the key of the condition that a hint made with `params` belongs to, or ''."""
        by = self.condition_by
        if by is None:
            return self.conditions[0] if self.conditions else ""
        default = next(param.default for param in self.params if param.name == by.param)
        return by.conditions.get(str(params.get(by.param, default)), "")


def refuse_unknown(kind: str, name: str, choices: Iterable[str]) -> None:
    """Raise ValueError naming the choices unless `name` is one of them."""
    if name not in (choices := tuple(choices)):
        raise ValueError(f"there is no {kind} {name!r}: choose one of {', '.join(choices)}")


def required(networks: Networks | None, weights: Weights) -> Networks:
    """Return `networks`; raise ValueError naming the file of `weights` if there are none."""
    if networks is None:
        raise ValueError(
            f"this engine needs the weights {weights.file}, and nothing here can load them: choose"
            " an engine without weights, or pass `networks`"
        )
    return networks
