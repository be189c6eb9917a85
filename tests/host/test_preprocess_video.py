"""Preprocess Video on the real host: what it reads, writes, resumes and refuses.

References: ComfyUI's own decoding (`get_components`), the preprocessors on the whole batch, and
what PyAV reads of the files.
"""

from __future__ import annotations

import errno
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from pack.preprocessors import catalogue
from pack.preprocessors.build import InMemory

pytestmark = pytest.mark.slow

SIDE, RATE, HERTZ = 64, 24, 48000
CANNY = {"method": "canny", "low_threshold": 60, "high_threshold": 120}
DEPTH = {"method": "depth", "engine": "image", "normalization": "clip"}


def frames_of(count: int, width: int = SIDE) -> np.ndarray:
    """Draw a disc that moves before a slope that brightens."""
    rows, columns = np.mgrid[:SIDE, :width]
    clip = np.empty((count, SIDE, width, 3), np.uint8)
    for index in range(count):
        disc = (rows - 30) ** 2 + (columns - (10 + index) % width) ** 2 < 120
        ground = columns * (80 + index % 90) // width
        clip[index] = np.where(disc, 220, ground)[..., None]
    return clip


def write_clip(
    path: Path,
    frames: np.ndarray,
    *,
    layout: str = "yuv420p",
    codec: str = "libx264",
    sound: str = "aac",
    times: list[int] | None = None,
) -> Path:
    """Encode frames, at `times` in units of 1/24 s, and a tone as long as they are."""
    with av.open(str(path), "w") as output:
        picture = output.add_stream(codec, rate=RATE)
        picture.height, picture.width = frames.shape[1:3]
        picture.pix_fmt = layout
        if codec == "libx264":
            picture.options = {"preset": "ultrafast"}
        tone = output.add_stream(sound, rate=HERTZ, layout="mono") if sound else None
        for index, levels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(levels, format="rgb24")
            frame.pts, frame.time_base = (times or range(len(frames)))[index], Fraction(1, RATE)
            output.mux(picture.encode(frame))
            if tone is not None:
                at = np.arange(HERTZ // RATE) + index * (HERTZ // RATE)
                wave = np.sin(at * (2 * np.pi * 440 / HERTZ))
                packed = (wave * 20000).astype(np.int16)[None] if "pcm" in sound else wave[None]
                kind = "s16" if "pcm" in sound else "fltp"
                heard = av.AudioFrame.from_ndarray(
                    packed if "pcm" in sound else packed.astype(np.float32), kind, "mono"
                )
                heard.sample_rate, heard.pts = HERTZ, int(at[0])
                heard.time_base = Fraction(1, HERTZ)
                output.mux(tone.encode(heard))
        output.mux(picture.encode(None))
        if tone is not None:
            output.mux(tone.encode(None))
    return path


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "short.mp4", frames_of(150))


def video(path, **window):
    from comfy_api.latest import InputImpl

    return InputImpl.VideoFromFile(str(path), **window)


@pytest.fixture
def folder(host) -> Path:
    import folder_paths

    clips = Path(folder_paths.get_output_directory()) / "controlstack"
    shutil.rmtree(clips, ignore_errors=True)
    return clips


def run(source, method: dict, *, resolution: int = 0, encoding: str = "lossless"):
    from pack.nodes.video import ControlStackPreprocessVideo as Node

    inputs = {"resolution": resolution, "method": dict(method), "encoding": encoding}
    return Node.PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(video=source, **inputs).result[0]


def levels(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def decoded(source) -> torch.Tensor:
    """Return the frames as ComfyUI decodes them; its 0.8 rounds them to 8 bits first."""
    import comfyui_version

    if comfyui_version.__version__.split(".")[:2] != ["0", "8"]:
        return source.get_components().images
    from pack.host import clip_source

    return stacked(clip_source.opened(source).frames())


def whole(source, method: dict, **more) -> np.ndarray:
    """Run the method on the whole batch at once; as levels."""
    params = {name: value for name, value in method.items() if name != "method"}
    hints = catalogue(method["method"])(decoded(source), **params, **more)
    return (hints * 255).round().clamp(0, 255).byte().numpy()


def sounds(path) -> list[tuple[float, bytes]]:
    """Return the packets of the sound: when, and what."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        return [
            (float(packet.pts * packet.time_base), bytes(packet))
            for packet in container.demux(audio=0)
            if packet.pts is not None
        ]


def assert_same_sound(path, other) -> None:
    """Every packet as it was, at its time, which Matroska rounds to a millisecond."""
    before, after = sounds(path), sounds(other)
    assert [data for _, data in after] == [data for _, data in before]
    times = [time for time, _ in before]
    assert [time for time, _ in after] == pytest.approx(times, abs=0.002)


def test_its_hints_are_those_of_the_whole_batch_and_its_sound_is_the_source(short, folder):
    source = video(short)
    hints = run(source, CANNY)
    assert (levels(hints.get_stream_source()) == whole(source, CANNY)).all()
    assert hints.get_components().frame_rate == RATE
    assert_same_sound(short, hints.get_stream_source())
    before, after = (each.get_components().audio for each in (source, hints))
    assert after["sample_rate"] == HERTZ
    assert after["waveform"].equal(before["waveform"])
    assert [path.name for path in folder.iterdir()] == [
        Path(hints.get_stream_source()).name
    ]  # nothing else is left


def test_h264_plays_everywhere_and_keeps_every_line(short, folder):
    source = video(short)
    path = run(source, CANNY, encoding="h264").get_stream_source()
    with av.open(path) as container:
        assert container.streams.video[0].format.name == "yuv420p"
    away = levels(path).astype(int) - whole(source, CANNY)
    assert np.abs(away).mean() < 1
    assert ((levels(path) > 127) == (whole(source, CANNY) > 127)).all()


@pytest.mark.parametrize("normalization", ["clip", "percentile"])
def test_depth_is_that_of_the_whole_clip(short, folder, normalization):
    """`percentile` comes from bins: a level may round the other way."""
    method = DEPTH | {"normalization": normalization}
    away = levels(run(video(short), method).get_stream_source()).astype(int) - whole(
        video(short), method
    )
    assert np.abs(away).max() <= (0 if normalization == "clip" else 1)


LAYOUTS = {
    "odd width": {"frames": frames_of(9, 50)},
    "4:4:4": {"layout": "yuv444p"},
    "RGB": {"codec": "libx264rgb", "layout": "rgb24"},
    "10 bits": {"layout": "yuv420p10le"},
    "motion JPEG": {"codec": "mjpeg", "layout": "yuvj420p"},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_frames_are_what_comfyui_decodes(tmp_path, name, host):
    from pack.host import clip_source

    if name == "odd width" and host.order < (0, 33):
        pytest.skip("this ComfyUI reads beyond odd widths, and does not decode twice alike")
    given = {"frames": frames_of(9), **LAYOUTS[name]}
    source = video(write_clip(tmp_path / "clip.mkv", given.pop("frames"), **given))
    ours = clip_source.opened(source)
    expected = source.get_components().images
    moments = list(ours.frames())
    pictures = stacked(moments)
    # older versions of ComfyUI read some layouts by other steps
    tolerance = 0 if host.order >= (0, 33) else 3 / 255
    assert pictures.shape == expected.shape
    assert (pictures - expected).abs()[:, :, :48].max() <= tolerance
    assert [float(moment.at * ours.time_base * RATE) for moment in moments] == pytest.approx(
        range(9), abs=0.05
    )


def stacked(moments) -> torch.Tensor:
    from pack.preprocessors import clips

    return clips.pictures([moment.picture() for moment in moments])


@pytest.mark.parametrize("window", [(2.0, 1.5), (1.0, 0.0), (-1.0, 0.0)], ids=str)
def test_a_trimmed_video_is_read_as_trimmed(short, folder, host, window):
    if host.order < (0, 9):
        pytest.skip("this ComfyUI cannot trim")
    source = video(short, start_time=window[0], duration=window[1])
    hints = run(source, CANNY)
    assert (levels(hints.get_stream_source()) == whole(source, CANNY)).all()
    before, after = source.get_components().audio, hints.get_components().audio
    lengths = [audio["waveform"].shape[2] / HERTZ for audio in (before, after)]
    assert lengths[1] == pytest.approx(lengths[0], abs=0.05)


def test_a_video_in_memory_is_read_as_it_is(folder):
    from comfy_api.latest import InputImpl, Types

    images = torch.from_numpy(frames_of(70).astype(np.float32) / 255)
    wave = torch.sin(torch.arange(140000) * 0.05)[None, None].expand(1, 2, -1)
    components = Types.VideoComponents(
        images=images,
        audio={"waveform": wave, "sample_rate": HERTZ},
        frame_rate=Fraction(30000, 1001),
    )
    hints = run(InputImpl.VideoFromComponents(components), CANNY)
    expected = catalogue("canny")(images, low_threshold=60, high_threshold=120)
    assert (levels(hints.get_stream_source()) == (expected * 255).byte().numpy()).all()
    assert hints.get_components().frame_rate == Fraction(30000, 1001)
    heard = hints.get_components().audio["waveform"]
    assert heard.shape[1] == 2
    assert abs(heard.shape[2] - 140000) <= 2048


@pytest.mark.parametrize("sound", ["", "aac", "flac", "pcm_s16le"])
def test_sound_is_copied_or_encoded(tmp_path, folder, sound):
    source = write_clip(tmp_path / "clip.mkv", frames_of(30), sound=sound)
    hints = run(video(source), CANNY).get_stream_source()
    if sound != "pcm_s16le":
        assert_same_sound(source, hints)
        return
    with av.open(str(hints)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        heard = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    wave = np.concatenate(heard)[4096:50000]
    tone = np.sin((np.arange(len(wave)) + 4096) * (2 * np.pi * 440 / HERTZ)) * 20000 / 32768
    assert np.abs(wave - tone).max() < 0.05


def test_frames_keep_their_times(tmp_path, folder):
    """Of a video whose frames are not evenly spaced, so that lips and sound stay together."""
    times = [0, 1, 2, 5, 6, 20, 21, 22, 40, 41]
    source = write_clip(tmp_path / "clip.mp4", frames_of(10), times=times)
    with av.open(run(video(source), CANNY).get_stream_source()) as container:
        seen = [frame.time * RATE for frame in container.decode(video=0)]
    assert seen == pytest.approx(times, abs=0.01)


class StopError(Exception):
    """What Cancel raises here."""


@pytest.fixture
def stopping(monkeypatch):
    """Stop the next run once so many frames, of both passes, are reported."""
    from pack.nodes import video as node

    def at(done_of: int | None) -> list[int]:
        seen = []

        def report(done: int, total: int) -> None:
            seen.append(done)
            assert done <= total
            if done_of is not None and done >= done_of:
                raise StopError

        monkeypatch.setattr(node, "progress", lambda: report)
        return seen

    return at


@pytest.mark.parametrize(
    ("method", "stops"),
    [(CANNY, (1, 30, 64, 66, 140)), (DEPTH, (20, 90, 150, 230, 290))],
    ids=["canny", "depth by clip"],
)
def test_stopped_anywhere_and_queued_again_it_is_the_same_file(
    short, folder, stopping, method, stops
):
    stopping(None)
    path = Path(run(video(short), method, encoding="h264").get_stream_source())
    unbroken = path.read_bytes()
    path.unlink()
    before = 0
    for stop in stops:
        seen = stopping(stop)
        with pytest.raises(StopError):
            run(video(short), method, encoding="h264")
        assert min(seen) >= before - 16  # at most a chunk is made again
        before = max(seen)
        assert not path.exists()
    stopping(None)
    run(video(short), method, encoding="h264")
    assert path.read_bytes() == unbroken


def test_what_a_kill_leaves_half_written_is_made_again(short, folder, stopping):
    stopping(None)
    path = Path(run(video(short), CANNY, encoding="h264").get_stream_source())
    unbroken = path.read_bytes()
    path.unlink()
    stopping(100)
    with pytest.raises(StopError):
        run(video(short), CANNY, encoding="h264")
    work = folder / f".{path.name}.work"
    (raw,) = work.glob("*.raw")
    with raw.open("ab") as file:
        file.write(b"torn")
    (work / "000001.part").write_bytes(b"half a piece")
    stopping(None)
    run(video(short), CANNY, encoding="h264")
    assert path.read_bytes() == unbroken


def test_the_same_again_is_the_same_file_at_once(short, folder, stopping):
    first = run(video(short), CANNY).get_stream_source()
    written = Path(first).stat().st_mtime_ns
    assert run(video(short), CANNY).get_stream_source() == first
    assert Path(first).stat().st_mtime_ns == written
    other = run(video(short), CANNY | {"low_threshold": 61}).get_stream_source()
    assert other != first


def test_people_are_followed_over_the_clip(short, folder, monkeypatch):
    """With a detector that stands in: it finds the disc, two people in changing order."""
    from pack.nodes import video as node
    from pack.preprocessors import pose
    from pack.preprocessors.keypoints import Frame

    def detect(frames, *_args, **_more):
        people = []
        for frame in frames:
            column = np.flatnonzero((frame > 190).all(axis=2).any(axis=0)).mean()
            person = np.zeros((2, 136, 3))
            person[:, :18, 0] = column + np.linspace(-8, 8, 18)
            person[:, :18, 1] = np.stack([5 + np.arange(18), 35 + np.arange(18)])
            person[:, :18, 2] = 1
            people.append(Frame(person[:: -1 if int(column) % 2 else 1], *frame.shape[:2]))
        return people

    monkeypatch.setattr(pose, "detect_top_down", detect)
    monkeypatch.setattr(node, "networks", InMemory({}))
    method = {"method": "pose", "smooth_frames": 2.0}
    hints = levels(run(video(short), method).get_stream_source())
    assert hints.any()
    assert (hints == whole(video(short), method, networks=InMemory({}))).all()


def refused(source, method=CANNY, match: str = "") -> None:
    with pytest.raises(ValueError, match=match) as caught:
        run(source, method)
    assert type(caught.value).__module__ == "controlstack"
    assert "\n" not in str(caught.value)


def test_what_is_not_a_video_is_refused(tmp_path, folder):
    (tmp_path / "text.mp4").write_text("no video")
    refused(video(tmp_path / "text.mp4"), match="cannot be read")
    with av.open(str(tmp_path / "sound.mp4"), "w") as output:
        tone = output.add_stream("aac", rate=HERTZ, layout="mono")
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        heard.sample_rate, heard.pts = HERTZ, 0
        output.mux(tone.encode(heard))
        output.mux(tone.encode(None))
    refused(video(tmp_path / "sound.mp4"), match="has no pictures")
    refused(video(tmp_path / "gone.mp4"), match="cannot be read")


def test_a_damaged_end_is_left_out(tmp_path, folder):
    """A file whose last part was never written: what can be decoded is annotated."""
    path = write_clip(tmp_path / "clip.mkv", frames_of(100), sound="")
    data = path.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 2 // 3])
    source = video(tmp_path / "cut.mkv")
    expected = decoded(source)
    assert 10 < len(expected) < 100
    assert len(levels(run(source, CANNY).get_stream_source())) == len(expected)


def test_a_full_disk_is_a_sentence_and_the_work_is_kept(short, folder, monkeypatch):
    from pack.host import clip_job

    def full(*_args) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(clip_job, "write_piece", full)
        refused(video(short), match="disk is full. Free space")
    assert [path.suffix for path in folder.iterdir()] == [".work"]
    hints = run(video(short), CANNY)
    assert (levels(hints.get_stream_source()) == whole(video(short), CANNY)).all()


@pytest.mark.quick
def test_odd_sides_are_kept(tmp_path, folder):
    source = video(write_clip(tmp_path / "clip.mp4", frames_of(5)))
    for encoding in ("h264", "lossless"):
        shape = levels(
            run(source, CANNY, resolution=33, encoding=encoding).get_stream_source()
        ).shape
        assert shape == (5, 33, 33, 3)
