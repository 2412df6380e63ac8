"""The classifiers of torchvision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.models.inputs import ImageInputs
from acdc_cli.parts import register_model

if TYPE_CHECKING:
    from torch import nn


@register_model("torchvision", is_library=True)
@dataclass(kw_only=True)
class TorchvisionOptions:
    """The keys of a classifier of torchvision.

    Attributes:
        name: what torchvision calls it.
    """

    name: str

    def build(self, inputs: ImageInputs) -> nn.Module:
        """Return the network. Raises BadInput if there is none of that name, or it does not take these images."""
        from acdc_cli.models.libraries import torchvision_model

        return torchvision_model(self.name, inputs.channels, inputs.classes)
