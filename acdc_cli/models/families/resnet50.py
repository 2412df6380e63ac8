"""torchvision's ResNet50."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.models.inputs import ImageInputs
from acdc_cli.parts import register_model

if TYPE_CHECKING:
    from torch import nn

STEM_CHANNELS = 64


@register_model("resnet50")
@dataclass(kw_only=True)
class ResNet50Options:
    """ResNet50 has no keys."""

    def build(self, inputs: ImageInputs) -> nn.Module:
        """Return torchvision's network, unchanged but for a first layer of other than three input channels."""
        from torch import nn
        from torchvision.models import resnet50

        model = resnet50(weights=None, num_classes=inputs.classes)
        if inputs.channels != 3:
            model.conv1 = nn.Conv2d(inputs.channels, STEM_CHANNELS, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        return model
