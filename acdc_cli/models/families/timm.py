"""The classifiers of timm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.models.inputs import ImageInputs
from acdc_cli.parts import register_model

if TYPE_CHECKING:
    from torch import nn


@register_model("timm", is_library=True)
@dataclass(kw_only=True)
class TimmOptions:
    """The keys of a classifier of timm.

    Attributes:
        name: what timm calls it.
    """

    name: str

    def build(self, inputs: ImageInputs) -> nn.Module:
        """Return the network. Raises BadInput if there is none of that name, or it does not take these images."""
        from acdc_cli.models.libraries import timm_model

        return timm_model(self.name, inputs.channels, inputs.classes)
