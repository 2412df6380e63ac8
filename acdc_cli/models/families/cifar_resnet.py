"""ResNets for small images (He et al. 2016, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.models.depth import check_depth
from acdc_cli.models.inputs import ImageInputs
from acdc_cli.options import number, one_of
from acdc_cli.parts import register_model

if TYPE_CHECKING:
    from acdc_cli.models.resnet import ResNet


@register_model("cifar_resnet")
@dataclass(kw_only=True)
class CifarResNetOptions:
    """The keys of a ResNet for small images.

    Attributes:
        depth: 6n + 2.
        width: channels of the first stage.
        shortcut: where the shape changes.
    """

    depth: int = number(8, example=20)
    width: int = number(1, example=16)
    shortcut: str = one_of("identity", "conv", example="identity")

    def build(self, inputs: ImageInputs) -> ResNet:
        """Return the network."""
        from acdc_cli.models.resnet import ResNet

        return ResNet(self.depth, self.width, inputs.channels, inputs.classes, self.shortcut)

    def check(self) -> None:
        """Raise BadInput for a depth that is not 6n + 2."""
        check_depth(self.depth, 2)
