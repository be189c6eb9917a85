"""Import other people's preprocessors, as references to measure against."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

PACKAGE = "controlnet_aux"


@contextmanager
def controlnet_aux(*names: str) -> Iterator[list[types.ModuleType]]:
    """Import modules of controlnet_aux by name, without what they do not need here.

    Its own `__init__` would import torchvision, timm and mediapipe, so it is left out; torchvision
    and a module that scipy has dropped are replaced by what is used of them.
    """
    spec = find_spec(PACKAGE)
    if spec is None:
        raise RuntimeError(
            "controlnet-aux is not installed: it is part of the test environment"
            " (workbench/environment.py)"
        )
    import matplotlib.colors  # its own `import matplotlib` expects that to have been imported

    assert matplotlib.colors
    before = dict(sys.modules)
    package = types.ModuleType(PACKAGE)
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[PACKAGE] = package
    for name, module in _stand_ins().items():
        sys.modules[name] = module
    try:
        yield [importlib.import_module(f"{PACKAGE}.{name}") for name in names]
    finally:
        # What they imported beside themselves stays: torch and the like must not be imported twice.
        for name in [
            *_stand_ins(),
            *(name for name in sys.modules if name.split(".")[0] == PACKAGE),
        ]:
            sys.modules.pop(name, None)
            if name in before:
                sys.modules[name] = before[name]


def _stand_ins() -> dict[str, types.ModuleType]:
    import scipy.ndimage

    contents_of = {
        "torchvision": {},
        "torchvision.transforms": {"ToPILImage": object, "ToTensor": object},
        "scipy.ndimage.filters": {"gaussian_filter": scipy.ndimage.gaussian_filter},
    }
    modules = {name: types.ModuleType(name) for name in contents_of}
    for name, contents in contents_of.items():
        vars(modules[name]).update(contents)
        above, _, last = name.rpartition(".")
        if above in modules:
            setattr(modules[above], last, modules[name])
    return modules
