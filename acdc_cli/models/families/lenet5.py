"""LeNet-5 as Caffe has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.errors import BadInput
from acdc_cli.models.inputs import ImageInputs
from acdc_cli.parts import register_model

if TYPE_CHECKING:
    from acdc_cli.models.lenet5 import LeNet5


@register_model("lenet5")
@dataclass(kw_only=True)
class LeNet5Options:
    """LeNet-5 has no keys."""

    def build(self, inputs: ImageInputs) -> LeNet5:
        """Return the network. Raises BadInput for images that its convolutions leave nothing of."""
        from acdc_cli.models.lenet5 import SMALLEST, LeNet5

        if min(inputs.height, inputs.width) < SMALLEST:
            size = f"{inputs.height}x{inputs.width}"
            raise BadInput(
                f"model=lenet5: needs images of at least {SMALLEST}x{SMALLEST} pixels, not {size}; try model=mlp"
            )
        return LeNet5(inputs.channels, inputs.height, inputs.width, inputs.classes)
