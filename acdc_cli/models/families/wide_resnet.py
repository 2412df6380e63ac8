"""Wide ResNets (Zagoruyko & Komodakis 2016, arXiv 1605.07146)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.models.depth import check_depth
from acdc_cli.models.inputs import ImageInputs
from acdc_cli.options import number
from acdc_cli.parts import register_model

if TYPE_CHECKING:
    from acdc_cli.models.wide_resnet import WideResNet


@register_model("wide_resnet")
@dataclass(kw_only=True)
class WideResNetOptions:
    """The keys of a wide ResNet.

    Attributes:
        depth: 6n + 4.
        width: channels of the first stage over 16.
        dropout: share of the activations inside a block that training drops.
    """

    depth: int = number(8, example=28)
    width: int = number(1, example=10)
    dropout: float = number(0, 1, below=True, example=0.3)

    def build(self, inputs: ImageInputs) -> WideResNet:
        """Return the network."""
        from acdc_cli.models.wide_resnet import WideResNet

        return WideResNet(self.depth, self.width, self.dropout, inputs.channels, inputs.classes)

    def check(self) -> None:
        """Raise BadInput for a depth that is not 6n + 4."""
        check_depth(self.depth, 4)
