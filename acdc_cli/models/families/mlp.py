"""LeNet-300-100 (LeCun et al. 1998)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.models.inputs import ImageInputs
from acdc_cli.parts import register_model

if TYPE_CHECKING:
    from acdc_cli.models.mlp import MLP


@register_model("mlp")
@dataclass(kw_only=True)
class MLPOptions:
    """The perceptron has no keys."""

    def build(self, inputs: ImageInputs) -> MLP:
        """Return the network."""
        from acdc_cli.models.mlp import MLP

        return MLP(inputs.channels * inputs.height * inputs.width, inputs.classes)
