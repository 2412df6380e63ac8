"""ImageNet-1K (Deng et al. 2009; ILSVRC 2012), or any tree of image files with folders train/ and val/."""

from __future__ import annotations

from dataclasses import dataclass

from acdc_cli.data.keys import ImageFileKeys
from acdc_cli.data.source import Source, Tree
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.parts import register_dataset

WRITE = WriteOptions(500, 90, 0.5)  # ffcv-imagenet's write_imagenet.sh 500 0.50 90
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # which everyone normalises with


@register_dataset(
    "imagenet", summary="ImageNet-1K (ILSVRC 2012), or any tree DIR/train/CLASS/ and DIR/val/CLASS/ of images"
)
@dataclass(kw_only=True)
class ImageNet(ImageFileKeys):
    """ImageNet has the keys of every set of image files."""

    def origin(self) -> Source:
        """Return the tree, with the sizes of ImageNet-1K."""
        return Source(Tree(None, WRITE, MEAN, STD), (3, 224, 224), 1000, 1_281_167)
