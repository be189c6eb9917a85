"""`python3 demo`: make one image with a stack of two ControlNets in a ComfyUI of its own."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import webbrowser
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from workbench import environment, hosts, inprocess, links, server, workflow  # noqa: E402

sys.path.pop(0)  # the root's nodes/ would shadow the host's module of that name

DRAWN_WORLD, TRAINING = HERE / "Drawn world.json", HERE / "Train hatching.json"
EXAMPLE = HERE.parent / "example_workflows" / "02 Two ControlNets.json"
ABOUT = """\
Makes a Python environment (once), finds ComfyUI or installs it with comfy-cli, writes the small
trained models of demo/weights into demo/base/models, and opens a workflow in the browser: a stack
of two ControlNets redraws a picture in other colours, at five strengths. With --random it opens
the template "02 Two ControlNets" on tiny models with random weights instead, where the image is
only a texture; for real images put models with the same names into that folder. Ctrl-C stops
everything that the demo started."""


def main() -> int:
    options = _options()
    environment.enter("demo")
    try:
        return _demo(_host(), options)
    except (server.HostError, InstallError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; nothing is left running")
        return 130 if options.headless else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python3 demo", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--headless",
        action="store_true",
        help="run the workflow over HTTP and write its images, without a browser",
    )
    parser.add_argument(
        "--no-browser",
        action="store_true",
        help="start ComfyUI and only print its address",
    )
    parser.add_argument(
        "--random",
        action="store_true",
        help="use tiny models with random weights: shows the wiring only",
    )
    parser.add_argument(
        "--train",
        action="store_true",
        help="draw pairs for a new condition, hatching, and open a workflow that trains its net",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        default=HERE / "weights",
        help="folder of the trained models (default: demo/weights)",
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=HERE,
        help="folder to write base/ and output/ into (default: demo/)",
    )
    return parser.parse_args()


def _demo(host: hosts.Host, options: argparse.Namespace) -> int:
    import picture

    to = options.to.resolve()
    picture.draw(to / "base" / "input" / "example.png")
    example = _example(host, options, to / "base")
    cpu = not _has_cuda()
    print(
        f"starting ComfyUI {host.version} from {host.path} on the {'CPU' if cpu else 'GPU'} ...",
        flush=True,
    )
    packs = {**server.PACKS, links.PACK: links.pack_of(example, to / "base" / "links")}
    with server.running(host, to / "base", packs=packs, cpu=cpu) as running:
        print(f"ComfyUI answers at {running.address}", flush=True)
        if options.headless:
            _run(running, example, to / "output")
        else:
            _open(running, example, browser=not options.no_browser)
    return 0


def _example(host: hosts.Host, options: argparse.Namespace, base: Path) -> Path:
    """Return the workflow to run; write the trained models that it needs.

    Raises HostError where a stored model is missing or damaged.
    """
    from workbench import demo_graph
    from workbench.world import hatching, model_files

    weights = options.weights.resolve()
    if options.random and not options.train:
        return EXAMPLE
    if not (weights / model_files.SUMS).exists():
        if options.train:
            raise server.HostError(
                f"--train: expected the trained models in {weights}, found none. Check that folder"
                " out again, or train them with python3 demo/world."
            )
        print(f"{weights} has no trained models: running with random weights, as --random does")
        return EXAMPLE
    print("writing the trained models ...", flush=True)
    inprocess.open_host(host, base=base)
    try:
        model_files.write_out(weights, base / "models")
    except ValueError as error:
        raise server.HostError(str(error)) from error
    if options.train:
        print("drawing pairs of pictures and hatchings ...", flush=True)
        hatching.write_pairs(base / "input" / demo_graph.FOLDER)
        hatching.write_unseen(base / "input" / demo_graph.UNSEEN)
    return TRAINING if options.train else DRAWN_WORLD


def _run(running: server.Server, example: Path, output: Path) -> None:
    """Queue the example as the frontend would, print its progress and write its images."""
    graph = json.loads(example.read_text(encoding="utf-8"))
    prompt = workflow.to_prompt(graph, running.ask("/object_info"))
    titles = {node: words["_meta"]["title"] for node, words in prompt.items()}
    result = running.run(prompt, _ProgressLines(titles))
    output.mkdir(parents=True, exist_ok=True)
    for node in sorted(result.outputs, key=int):
        for record in result.images(node):
            file = output / f"{titles[node].lower().replace(' ', '-')}.png"
            image = running.image(record)
            image.save(file)
            print(f"wrote {file} ({image.width} x {image.height})")
    print(f"the workflow took {result.seconds:.1f} s")


class _ProgressLines:
    """Print a line when a node starts, and one for each step of a node that counts steps."""

    def __init__(self, titles: dict[str, str]):
        self._titles = titles
        self._reached: dict[str, tuple[float, float]] = {}

    def __call__(self, progress: server.Progress) -> None:
        title = self._titles.get(progress.node, progress.node)
        if progress.node not in self._reached:
            self._reached[progress.node] = (0, progress.maximum)
            print(f"[{len(self._reached):2}/{len(self._titles)}] {title}", flush=True)
        reached, maximum = self._reached[progress.node]
        is_next = progress.maximum != maximum  # training counts pictures first, then steps
        if progress.maximum > 1 and (progress.value > reached or is_next):
            self._reached[progress.node] = (progress.value, progress.maximum)
            print(f"        {title}: {progress.value:.0f} of {progress.maximum:.0f}", flush=True)


def _open(running: server.Server, example: Path, *, browser: bool) -> None:
    """Open the example in the browser; wait for Ctrl-C, or raise when ComfyUI ends by itself."""
    # The tour that ComfyUI shows at its first start would hide the workflow.
    running.ask("/api/settings/Comfy.TutorialCompleted", True)
    address = running.address + links.query(example)
    print(f"the example workflow: {address}")
    listed = f"{links.PACK} > {links.name_of(example)}"
    print(f"(if it does not open: Workflow > Browse Templates > {listed})")
    print("press Run in the browser; press Ctrl-C here to stop", flush=True)
    if browser and not webbrowser.open(address):
        print("no browser was found: open the address above yourself", flush=True)
    running.process.wait()
    raise server.HostError(f"ComfyUI stopped by itself; its log ends with:\n{running.tail()}")


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


class InstallError(RuntimeError):
    """Raised when ComfyUI could not be installed; the message says what to do."""


def _host() -> hosts.Host:
    """Return the newest ComfyUI on this machine; install the latest release if there is none."""
    if not hosts.find():
        _install(hosts.default_workspace())
        environment.enter("demo")  # ComfyUI's requirements can be read only now
    return hosts.find()[0]


def _install(workspace: Path) -> None:
    """Install ComfyUI's files with comfy-cli; its packages go into our environment later."""
    print(f"no ComfyUI was found: installing it into {workspace} with comfy-cli", flush=True)
    environment.make([environment.Step("comfy-cli", ("comfy-cli",))])
    comfy_cli = [str(environment.python_of(environment.HOME)), "-m", "comfy_cli"]
    command = ["--skip-prompt", "--workspace", str(workspace), "install"]
    options = ["--version", "latest", "--cpu"]
    skipped = ["--skip-manager", "--skip-torch-or-directml", "--skip-requirement"]
    result = subprocess.run([*comfy_cli, *command, *options, *skipped])
    if result.returncode or not hosts.read(workspace):
        raise InstallError(
            f"comfy-cli could not install ComfyUI into {workspace} (exit code {result.returncode};"
            " see its output above): check the network connection and run this again, or set"
            " COMFYUI_DIR to the folder of an installed ComfyUI"
        )


if __name__ == "__main__":
    sys.exit(main())
