"""How images go into a .beton, and what the command line may say about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from acdc_cli.errors import BadInput

SMALLEST = 16  # pixels; nothing smaller is a photograph


@dataclass(frozen=True)
class WriteOptions:
    """How images go into a .beton.

    Attributes:
        max_resolution: longer side in pixels that larger images are reduced to, or None.
        jpeg_quality: of the JPEG encoder, 1 to 100.
        raw_share: share of the samples kept as pixels, in [0, 1]: larger to store, quicker to read.
    """

    max_resolution: int | None
    jpeg_quality: int
    raw_share: float


def changed(
    usual: WriteOptions, max_resolution: str | None, jpeg_quality: int | None, raw_share: float | None
) -> WriteOptions:
    """A set's own options with what was typed in their place; None: not typed.

    Raises:
        BadInput: on a value out of its range.
    """
    if max_resolution is not None:
        usual = replace(usual, max_resolution=_resolution(max_resolution))
    if jpeg_quality is not None:
        if not 1 <= jpeg_quality <= 100:
            raise BadInput(f"--jpeg-quality {jpeg_quality}: nearest: --jpeg-quality {1 if jpeg_quality < 1 else 100}")
        usual = replace(usual, jpeg_quality=jpeg_quality)
    if raw_share is not None:
        if not 0 <= raw_share <= 1:
            raise BadInput(f"--raw-share {raw_share}: nearest: --raw-share {0 if raw_share < 0 else 1}")
        usual = replace(usual, raw_share=raw_share)
    return usual


def _resolution(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isdecimal() or int(text) < SMALLEST:
        raise BadInput(f"--max-resolution {text}: pixels from {SMALLEST} up, such as 500, or none")
    return int(text)
