"""Image files of one's own, in a folder for each class."""

from __future__ import annotations

from dataclasses import dataclass

from acdc_cli.data.keys import ImageFileKeys
from acdc_cli.data.source import Source, SplitRule, Tree
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.options import number
from acdc_cli.parts import register_dataset

WRITE = WriteOptions(500, 95, 0.0)
USUAL_PIXELS = 224


@register_dataset(
    "folder",
    summary="a folder of your own: DIR/train/CLASS/ and DIR/val/CLASS/, or DIR/CLASS/, which is split",
    content_keys=("source", "val_share", "split_seed"),
)
@dataclass(kw_only=True)
class Folder(ImageFileKeys):
    """The keys of a set of image files, and which files these are.

    Attributes:
        source: the folder. It holds train/ and val/ with the same class folders, or class folders alone.
        val_share: share of each class that is for validation, where there is neither train/ nor val/. The rule is in
            ``acdc_cli.data.split``, and in the dataset.json of what is prepared.
        split_seed: another seed is another split.
    """

    source: str | None = None
    val_share: float = number(0, 1, above=True, below=True, example=0.1)
    split_seed: int = number(0, example=0)

    def origin(self) -> Source:
        """Return the tree."""
        pixels = self.resolution or USUAL_PIXELS  # there is none where only the name is known
        return Source(Tree(None, WRITE, split=SplitRule(self.val_share, self.split_seed)), (3, pixels, pixels))
