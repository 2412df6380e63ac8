"""MobileNetV1 (Howard et al. 2017, arXiv 1704.04861)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.models.inputs import ImageInputs
from acdc_cli.parts import register_model

if TYPE_CHECKING:
    from acdc_cli.models.mobilenet_v1 import MobileNetV1


@register_model("mobilenet_v1")
@dataclass(kw_only=True)
class MobileNetV1Options:
    """MobileNetV1 has no keys."""

    def build(self, inputs: ImageInputs) -> MobileNetV1:
        """Return the network."""
        from acdc_cli.models.mobilenet_v1 import MobileNetV1

        return MobileNetV1(inputs.channels, inputs.classes)
