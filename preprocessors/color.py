"""Keep colours, tones or places: hints that are the picture with something removed."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .images import (
    BAND_PX,
    Frame8,
    Map,
    as_masks,
    blank_hints,
    each_frame,
    opencv,
    size_of,
    sized,
    tensor_of,
    to_rgb,
)
from .spec import Param, Port, Preprocessor, Progress

TONES = ("luminance", "intensity")
CHANNEL_ORDERS = ("rgb", "reference")
LEVELS = ("fixed", "otsu", "grey")
MASKED = {"-1": -1.0, "0": 0.0, "0.5": 0.5, "1": 1.0}
"""The value of a masked pixel, by its name."""


def tile(
    image: Tensor, *, pyramid_steps: int = 3, resolution: int = 0, progress: Progress | None = None
) -> Tensor:
    """Remove the detail, which a tile ControlNet invents: (B,H,W,C) → (B,h,w,3), both in [0,1].

    `pyramid_steps` halvings by area, then as many smooth doublings. The reference enlarges with a
    pyramid whose steps each move the picture by half a pixel of the smaller one, 3.5 px for three;
    here every step keeps the centre.
    """
    cv2 = opencv()
    factor = 2**pyramid_steps

    def draw(frame: Frame8) -> Map:
        height, width = frame.shape[:2]
        below, right = -height % factor, -width % factor
        whole = frame
        if below or right:
            whole = cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REPLICATE)
        small = ((width + right) // factor, (height + below) // factor)
        reduced = cv2.resize(
            whole.astype(np.float32), small, interpolation=cv2.INTER_AREA
        ) / np.float32(255)
        reduced = np.minimum(reduced, np.float32(1))  # so that the means below stay in range
        for _ in range(pyramid_steps):
            reduced = cv2.resize(reduced, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        return reduced[:height, :width]

    return each_frame(image, draw, resolution=resolution, progress=progress)


def shuffle(
    image: Tensor,
    *,
    seed: int = 0,
    cell_px: int = 256,
    resolution: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Move the picture's colours to other places: (B,H,W,C) → (B,h,w,3), both in [0,1].

    Equals ControlNet's content shuffle with numpy's global generator seeded by `seed`: two smooth
    discs of noise, of `cell_px`, say where each pixel comes from. All frames move alike.
    """
    cv2 = opencv()
    height, width = size_of(image, resolution)
    random = np.random.RandomState(seed)
    flow = np.stack(
        [_noise(random, height, width, cell_px) * (side - 1) for side in (width, height)],
        axis=2,
        dtype=np.float32,
    )

    def draw(frame: Frame8) -> Map:
        return cv2.remap(frame, flow, None, cv2.INTER_LINEAR)

    return each_frame(image, draw, resolution=resolution, progress=progress)


def _noise(
    random: np.random.RandomState, height: int, width: int, cell_px: int
) -> NDArray[np.float64]:
    """Return noise (height,width) in [0,1], smooth over about `cell_px`."""
    cv2 = opencv()
    coarse = random.uniform(0, 1, (height // cell_px + 2, width // cell_px + 2, 1))
    fine = cv2.resize(
        coarse, (width + 2 * cell_px, height + 2 * cell_px), interpolation=cv2.INTER_CUBIC
    )
    fine = fine[cell_px : cell_px + height, cell_px : cell_px + width]
    fine = fine - fine.min()
    return fine / (fine.max() or 1.0)  # one pixel has no span


def color_grid(
    image: Tensor, *, cell_px: int = 64, resolution: int = 0, progress: Progress | None = None
) -> Tensor:
    """Fill each cell of about `cell_px` with its mean colour: (B,H,W,C) → (B,h,w,3), in [0,1].

    What T2I-Adapter's colour model reads: as many whole cells as fit, at least one, stretched over
    the picture.
    """
    cv2 = opencv()

    def draw(frame: Frame8) -> Map:
        height, width = frame.shape[:2]
        cells = max(1, width // cell_px), max(1, height // cell_px)
        coarse = cv2.resize(frame, cells, interpolation=cv2.INTER_AREA)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)

    return each_frame(image, draw, resolution=resolution, progress=progress)


def recolor(
    image: Tensor,
    *,
    tone: str = "luminance",
    gamma: float = 1.0,
    channel_order: str = "rgb",
    resolution: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Remove the colours, for recolouring: (B,H,W,C) → (B,h,w,3), both in [0,1].

    `tone` is CIE Lab's lightness ("luminance") or the greatest of R, G and B ("intensity"), to the
    power of `gamma`. `channel_order` "reference" takes red for blue before it computes the
    lightness, as the ControlNet tools do.
    """
    cv2 = opencv()
    code = cv2.COLOR_RGB2LAB if channel_order == "rgb" else cv2.COLOR_BGR2LAB

    def draw(frame: Frame8) -> Map:
        if tone == "luminance":
            levels: NDArray[np.uint8] = cv2.extractChannel(cv2.cvtColor(frame, code), 0)
        else:
            red, green, blue = cv2.split(frame)
            levels = cv2.max(cv2.max(red, green), blue)
        if gamma == 1:
            return levels
        return np.power(levels.astype(np.float32) / 255, np.float32(gamma))

    return each_frame(image, draw, halo_px=0, resolution=resolution, progress=progress)


def brightness(
    image: Tensor,
    *,
    level: str = "fixed",
    threshold: int = 127,
    resolution: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Divide a picture into light and dark: (B,H,W,C) → (B,h,w,3), both in [0,1].

    For brightness and QR code ControlNets. White where the luma (Rec. 601) exceeds `threshold`
    (0-255) or, for `level` "otsu", the threshold that best divides each frame (Otsu, 1979); "grey"
    keeps the luma itself.
    """
    cv2 = opencv()
    kind = cv2.THRESH_BINARY + (cv2.THRESH_OTSU if level == "otsu" else 0)

    def draw(frame: Frame8) -> Map:
        luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        return luma if level == "grey" else cv2.threshold(luma, threshold, 255, kind)[1]

    halo_px = None if level == "otsu" else 0  # whose threshold is that of the whole frame
    return each_frame(image, draw, halo_px=halo_px, resolution=resolution, progress=progress)


def inpaint_hint(
    image: Tensor,
    *,
    masked: str = "-1",
    mask: Tensor | None = None,
    resolution: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Mark the area to inpaint: (B,H,W,C) in [0,1] and mask (B,H',W') → (B,h,w,3).

    The hint is the picture, and `masked` where the mask exceeds 0.5. -1 is what SD1.5's inpainting
    ControlNet was trained on, black (0) xinsir's for SDXL. Nothing is rounded to 8 bits. Without a
    mask nothing is marked. Raises ValueError unless there is one mask for all frames, or one for
    each.
    """
    height, width = size_of(image, resolution)
    masks = torch.zeros(1, 1, 1) if mask is None else as_masks(mask, "mask")
    if len(masks) not in (1, len(image)):
        raise ValueError(
            f"mask has {len(masks)} frames and the picture {len(image)}: connect one for all, or"
            " one for each"
        )
    hints = tensor_of(blank_hints(len(image), height, width))
    for index, frame in enumerate(image.detach()):
        if progress:
            progress(index, len(image))
        cover = F.interpolate(
            masks[index % len(masks)][None, None], (height, width), mode="bilinear"
        )[0, 0].gt(0.5)
        is_sized = frame.shape[:2] == (height, width)
        rows = max(1, BAND_PX // width) if is_sized else height
        for top in range(0, height, rows):
            hint, band = (
                hints[index, top : top + rows],
                slice(top, top + rows) if is_sized else slice(None),
            )
            colours = to_rgb(frame[None, band].cpu().float())
            hint.copy_(sized(colours, len(hint), width)[0].movedim(0, 2))
            hint[cover[top : top + rows]] = MASKED[masked]
    if progress:
        progress(len(image), len(image))
    return hints.to(image.device)


ROWS = (
    Preprocessor(
        key="tile",
        node_id="ControlStackTile",
        title="Tile",
        summary="The picture without its fine detail, in place, for tile ControlNets.",
        run=tile,
        params=(
            Param(
                "pyramid_steps",
                3,
                "Halvings: each removes detail up to twice as large.",
                1,
                10,
            ),
        ),
        conditions=("tile",),
        aliases=("tile", "upscale", "blur", "detail"),
        grey=False,
        plain_is_black=False,
    ),
    Preprocessor(
        key="shuffle",
        node_id="ControlStackShuffle",
        title="Content Shuffle",
        summary="The picture's colours, moved to other places, for shuffle ControlNets.",
        run=shuffle,
        params=(
            Param(
                "seed",
                0,
                "Each seed moves the colours another way, all frames of a batch alike.",
                0,
                2**32 - 1,
            ),
            Param("cell_px", 256, "Size of the areas that stay together, in pixels.", 8, 4096),
        ),
        conditions=("shuffle",),
        aliases=("shuffle", "content shuffle", "style"),
        grey=False,
        plain_is_black=False,
    ),
    Preprocessor(
        key="color_grid",
        node_id="ControlStackColorGrid",
        title="Color Grid",
        summary="The mean colour of each cell of the picture, for colour adapters.",
        run=color_grid,
        params=(Param("cell_px", 64, "Side of a cell in pixels.", 1, 4096),),
        conditions=("colorgrid",),
        aliases=("color", "colour", "palette", "pixelate", "t2ia_color"),
        grey=False,
        plain_is_black=False,
    ),
    Preprocessor(
        key="recolor",
        node_id="ControlStackRecolor",
        title="Recolor",
        summary="The picture without its colours, for recolor ControlNets.",
        run=recolor,
        params=(
            Param(
                "tone",
                "luminance",
                "luminance: how light a colour looks. intensity: the greatest of R, G and B.",
                choices=TONES,
            ),
            Param("gamma", 1.0, "Above 1 darkens the middle, below 1 lightens it.", 0.1, 5.0, 0.01),
            Param(
                "channel_order",
                "rgb",
                "reference: red and blue are exchanged before luminance is computed, like the"
                " original tools do by mistake.",
                choices=CHANNEL_ORDERS,
            ),
        ),
        conditions=("recolor",),
        aliases=("recolor", "colorize", "grayscale", "luminance", "intensity"),
        plain_is_black=False,
    ),
    Preprocessor(
        key="brightness",
        node_id="ControlStackBrightness",
        title="Brightness",
        summary="Light and dark, for brightness and QR code ControlNets.",
        run=brightness,
        params=(
            Param(
                "level",
                "fixed",
                "fixed: white above the threshold. otsu: a threshold computed for each frame. grey:"
                " no threshold.",
                choices=LEVELS,
            ),
            Param("threshold", 127, "Brighter pixels (0-255) are white, with level fixed."),
        ),
        conditions=("brightness",),
        aliases=("brightness", "qr code", "threshold", "binary", "illumination"),
        plain_is_black=False,
    ),
    Preprocessor(
        key="inpaint_hint",
        node_id="ControlStackInpaintHint",
        title="Inpaint Hint",
        summary="The picture with the area to inpaint marked, for inpaint ControlNets.",
        run=inpaint_hint,
        params=(
            Param(
                "masked",
                "-1",
                "Value of a masked pixel. -1: SD1.5's inpaint ControlNet. 0: SDXL's by xinsir. 0.5,"
                " 1: others.",
                choices=tuple(MASKED),
            ),
        ),
        conditions=("inpaint",),
        aliases=("inpaint", "mask", "outpaint", "inpaint preprocessor"),
        grey=False,
        inputs=(
            Port(
                "mask",
                "MASK",
                "The area to inpaint (white). Any size; one for all frames, or one for each.",
                is_required=True,
            ),
        ),
        plain_is_black=False,
    ),
)
