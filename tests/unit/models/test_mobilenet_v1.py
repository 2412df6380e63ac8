"""MobileNetV1: the architecture of its paper's table 1, the reference configs' key names."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from acdc_cli.models.mobilenet_v1 import MobileNetV1
from acdc_cli.sparsity import prunable_weights

# Howard et al. 2017, table 1: input channels, output channels and stride of each separable block.
BLOCKS = [
    (32, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
    (128, 256, 2),
    (256, 256, 1),
    (256, 512, 2),
    (512, 512, 1),
    (512, 512, 1),
    (512, 512, 1),
    (512, 512, 1),
    (512, 512, 1),
    (512, 1024, 2),
    (1024, 1024, 1),
]


def test_shapes_and_key_names() -> None:
    """Names as in AC/DC's configs (model.0.0, model.1.0, model.1.3, ..., fc); stack.md, section 6 has the counts."""
    expected = {"model.0.0.weight": (32, 3, 3, 3)}
    for number, (inputs, outputs, _) in enumerate(BLOCKS, start=1):
        expected[f"model.{number}.0.weight"] = (inputs, 1, 3, 3)
        expected[f"model.{number}.3.weight"] = (outputs, inputs, 1, 1)
    expected["fc.weight"] = (1000, 1024)
    weights = prunable_weights(MobileNetV1())
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == expected
    counts = {name: weight.numel() for name, weight in weights.items()}
    assert sum(counts.values()) == 4_209_088
    assert counts["model.0.0.weight"] == 864
    assert sum(counts[f"model.{number}.0.weight"] for number in range(1, 14)) == 44_640
    assert sum(parameter.numel() for parameter in MobileNetV1().parameters()) == 4_231_976


def plain_mobilenet(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The forward pass from a state dict alone."""

    def step(x: Tensor, conv: str, norm: str, **how: int) -> Tensor:
        x = F.conv2d(x, state[f"{conv}.weight"], **how)
        statistics = [state[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *statistics).clamp(min=0)

    x = step(x, "model.0.0", "model.0.1", stride=2, padding=1)
    for number, (channels, _, stride) in enumerate(BLOCKS, start=1):
        name = f"model.{number}"
        x = step(x, f"{name}.0", f"{name}.1", stride=stride, padding=1, groups=channels)
        x = step(x, f"{name}.3", f"{name}.4")
    return x.mean(dim=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize(("channels", "classes", "size"), [(3, 7, 64), (1, 10, 33)])
def test_agrees_with_a_plain_loop(channels: int, classes: int, size: int) -> None:
    torch.manual_seed(0)
    model = MobileNetV1(channels, classes).double().eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "running_var" in name:
                tensor.uniform_(0.001, 0.01)  # a fresh net's activations fade; these keep them alive to the end
        x = torch.randn(2, channels, size, size, dtype=torch.float64)
        expected = plain_mobilenet(model.state_dict(), x)
        assert expected.std(dim=0).min() > 1e-6
        torch.testing.assert_close(model(x), expected)
