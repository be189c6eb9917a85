"""`python3 demo`: one picture, two hints, a stack of two ControlNets, one image, in a ComfyUI of
its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import webbrowser
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from workbench import environment, hosts, server, workflow  # noqa: E402

sys.path.pop(0)  # the root's nodes/ would shadow the host's module of that name

EXAMPLE = "two_control_stack"
ABOUT = """\
Makes a Python environment (once), finds ComfyUI or installs it with comfy-cli, writes a family of tiny models with
random weights into a base directory of its own, and opens the example workflow in the browser. The picture that comes
out is a texture, since the weights are random; put real models with the same names into demo/base/models for more.
Ctrl-C ends it and leaves nothing running."""


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
        help="no browser: run the workflow over HTTP and write its pictures",
    )
    parser.add_argument(
        "--no-browser",
        action="store_true",
        help="start the page's server and only print its address",
    )
    parser.add_argument(
        "--to", type=Path, default=HERE, help="folder that gets base/ and output/ (default: demo/)"
    )
    return parser.parse_args()


def _demo(host: hosts.Host, options: argparse.Namespace) -> int:
    import picture

    to = options.to.resolve()
    picture.draw(to / "base" / "input" / "example.png")
    for file in (HERE.parent / "example_workflows" / "inputs").iterdir():
        shutil.copy(file, to / "base" / "input" / file.name)
    cpu = not _has_cuda()
    print(
        f"starting ComfyUI {host.version} from {host.path} on the {'CPU' if cpu else 'GPU'} ...",
        flush=True,
    )
    with server.running(host, to / "base", cpu=cpu) as running:
        print(f"ComfyUI answers at {running.address}", flush=True)
        if options.headless:
            _run(running, to / "output")
        else:
            _open(running, browser=not options.no_browser)
    return 0


def _run(running: server.Server, output: Path) -> None:
    """Queue the example as the page would, follow it node by node, and write every picture that it
    shows.
    """
    example = json.loads(
        (HERE.parent / "example_workflows" / f"{EXAMPLE}.json").read_text(encoding="utf-8")
    )
    prompt = workflow.to_prompt(example, running.ask("/object_info"))
    titles = {node: words["_meta"]["title"] for node, words in prompt.items()}
    result = running.run(prompt, _Lines(titles))
    output.mkdir(parents=True, exist_ok=True)
    for node in sorted(result.outputs, key=int):
        for record in result.images(node):
            file = output / f"{titles[node].lower().replace(' ', '-')}.png"
            image = running.image(record)
            image.save(file)
            print(f"wrote {file} ({image.width} x {image.height})")
    print(f"the run took {result.seconds:.1f} s")


class _Lines:
    """Prints one line when a node begins, and one for each step of those that count steps."""

    def __init__(self, titles: dict[str, str]):
        self._titles = titles
        self._reached: dict[str, float] = {}

    def __call__(self, progress: server.Progress) -> None:
        title = self._titles.get(progress.node, progress.node)
        if progress.node not in self._reached:
            self._reached[progress.node] = 0
            print(f"[{len(self._reached):2}/{len(self._titles)}] {title}", flush=True)
        if progress.maximum > 1 and progress.value > self._reached[progress.node]:
            self._reached[progress.node] = progress.value
            print(f"        {title}: {progress.value:.0f} of {progress.maximum:.0f}", flush=True)


def _open(running: server.Server, *, browser: bool) -> None:
    """Open the page on the example; wait until Ctrl-C, or until the host ends."""
    running.ask(
        "/api/settings/Comfy.TutorialCompleted", True
    )  # the tour of a first start would hide the workflow
    address = f"{running.address}/?template={EXAMPLE}&source=controlstack"
    print(f"the example workflow: {address}")
    print(f"(should it not open by itself: Workflow > Browse Templates > controlstack > {EXAMPLE})")
    print("press Run in the page; press Ctrl-C here to end", flush=True)
    if browser and not webbrowser.open(address):
        print("no browser was found here: open the address yourself", flush=True)
    running.process.wait()
    raise server.HostError(f"ComfyUI ended by itself; its log ends with:\n{running.tail()}")


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


class InstallError(RuntimeError):
    """ComfyUI is not here and could not be installed; the message says what to do."""


def _host() -> hosts.Host:
    """The newest host found; where there is none, the latest release, installed with comfy-cli."""
    if not hosts.find():
        _install(hosts.default_workspace())
        environment.enter("demo")  # what the host needs is known only now
    return hosts.find()[0]


def _install(workspace: Path) -> None:
    """The host's files through the ecosystem's own installer; its packages go into our environment
    afterwards.
    """
    print(f"no ComfyUI was found: installing it into {workspace} with comfy-cli", flush=True)
    environment.make([environment.Step("comfy-cli", ("comfy-cli",))])
    comfy_cli = [str(environment.python_of(environment.HOME)), "-m", "comfy_cli"]
    words = [
        "--skip-prompt",
        "--workspace",
        str(workspace),
        "install",
        "--version",
        "latest",
        "--cpu",
    ]
    skipped = ["--skip-manager", "--skip-torch-or-directml", "--skip-requirement"]
    ended = subprocess.run([*comfy_cli, *words, *skipped])
    if ended.returncode or not hosts.read(workspace):
        raise InstallError(
            f"comfy-cli could not install ComfyUI into {workspace} (it ended with"
            f" {ended.returncode}; see above): check the network and run this again, or set"
            " COMFYUI_DIR to the folder of a ComfyUI that you have"
        )


if __name__ == "__main__":
    sys.exit(main())
