"""Make the hints of a whole video, of any length."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from comfy_api.latest import InputImpl, io, ui

from ..host.clip_job import ClipJob
from ..host.clip_source import opened
from ..host.clip_writer import ENCODINGS
from ..host.progress import check_interrupt, progress
from ..host.runtime import networks
from ..preprocessors import catalogue
from .preprocess import method_options, resolution_input
from .schema import schema

FOLDER = "controlstack"
"""In ComfyUI's output folder."""


class ControlStackPreprocessVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls.__name__,  # not in Preprocess: the page makes live hints for the nodes there
            display_name="Preprocess Video",
            description=(
                "The hints of a whole video, however long: a few frames are in memory at a time,"
                " the sound stays, and a run that was stopped goes on where it was."
            ),
            search_aliases=["video hints", "annotate video", "batch frames", "long clip"],
            inputs=[
                io.Video.Input("video", tooltip="A video of any length, as of Load Video."),
                resolution_input(),
                io.DynamicCombo.Input(
                    "method", options=method_options(), tooltip="How the hints are made."
                ),
                io.Combo.Input(
                    "encoding",
                    options=list(ENCODINGS),
                    default="h264",
                    optional=True,
                    tooltip=(
                        "h264: plays everywhere, hardly different from the hints. lossless: every"
                        " level of every hint as it is, in larger files that few players show."
                    ),
                ),
            ],
            outputs=[
                io.Video.Output(
                    "hints",
                    display_name="hints",
                    tooltip="The hints as a video, with the sound. It is a file in output.",
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, video, resolution: int, method: dict, encoding: str = "h264") -> io.NodeOutput:
        row = catalogue(method["method"])
        given = {name: value for name, value in method.items() if name != "method"}
        job = ClipJob(
            clip=opened(video),
            row=row,
            params=row.settled(given),
            resolution=resolution,
            encoding=encoding,
            folder=Path(folder_paths.get_output_directory()) / FOLDER,
            networks=networks,
            report=progress(),
            wait=check_interrupt,
        )
        path = job.run()
        shown = ui.SavedResult(path.name, FOLDER, io.FolderType.output)
        return io.NodeOutput(InputImpl.VideoFromFile(str(path)), ui=ui.PreviewVideo([shown]))


NODES = [ControlStackPreprocessVideo]
