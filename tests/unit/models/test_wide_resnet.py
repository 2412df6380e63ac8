"""WideResNet: the reference configs' names and shapes, published counts, a forward pass by hand, dropout."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acdc_cli.measure.flops import inference_flops, layer_sizes
from acdc_cli.models.wide_resnet import WideResNet
from acdc_cli.sparsity import prunable_layers, prunable_weights


def wide_28_10(channels: int = 3, classes: int = 100) -> nn.Module:
    with torch.device("meta"):
        return WideResNet(28, 10, 0.3, channels, classes)


def shapes_by_hand(classes: int) -> dict[str, tuple[int, ...]]:
    """The modules that AC/DC's CIFAR-100 configs list, and Zagoruyko & Komodakis, table 1: 160, 320, 640 channels."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (16, 3, 3, 3)}
    before = 16
    for stage, channels in ((1, 160), (2, 320), (3, 640)):
        for block in range(4):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (channels, before, 3, 3)
            shapes[f"{name}.conv2.weight"] = (channels, channels, 3, 3)
            if block == 0:
                shapes[f"{name}.shortcut.0.weight"] = (channels, before, 1, 1)
            before = channels
    return shapes | {"linear.weight": (classes, 640)}


@pytest.mark.parametrize(("classes", "published"), [(100, 36_518_832), (10, 36_461_232)])
def test_shapes_key_names_and_counts(classes: int, published: int) -> None:
    model = wide_28_10(classes=classes)
    weights = prunable_weights(model)
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == shapes_by_hand(classes)
    assert sum(weight.numel() for weight in weights.values()) == published
    # Every convolution has a bias; norms: before each convolution of a block, and the last.
    biases = {name.removesuffix("weight") + "bias" for name in weights}
    assert biases <= model.state_dict().keys()
    assert sum("running_mean" in name for name in model.state_dict()) == 2 * 12 + 1


def test_roles_of_layers() -> None:
    words = {name: layer.words for name, layer in prunable_layers(wide_28_10()).items()}
    assert "first" in words["conv1.weight"] and "last" in words["linear.weight"]
    shortcuts = {name for name, those in words.items() if "downsample" in those}
    assert shortcuts == {f"layer{stage}.0.shortcut.0.weight" for stage in (1, 2, 3)}


def test_flops_have_the_stride_on_the_second_convolution() -> None:
    """As in the reference code: a block that halves the resolution has its first convolution at the full one."""
    expected = 16 * 27 * 32**2 + 64_000
    before = 16
    for channels, size_in, size in ((160, 32, 32), (320, 32, 16), (640, 16, 8)):
        expected += 9 * before * channels * size_in**2 + 9 * channels**2 * size**2 + before * channels * size**2
        expected += 3 * 2 * 9 * channels**2 * size**2
        before = channels
    assert inference_flops(layer_sizes(wide_28_10(), (3, 32, 32))) == 2 * expected


def plain_forward(state: dict[str, Tensor], x: Tensor, blocks: int) -> Tensor:
    """Evaluation from a state dict alone."""

    def normed(x: Tensor, name: str) -> Tensor:
        shape = (1, -1, 1, 1)
        mean, var, weight, bias = (
            state[f"{name}.{key}"].view(shape) for key in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (var + 1e-5).sqrt() * weight + bias).clamp(min=0)

    def conv(x: Tensor, name: str, **how: int) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **how)

    x = conv(x, "conv1", padding=1)
    for stage, stride in ((1, 1), (2, 2), (3, 2)):
        for block in range(blocks):
            name, by = f"layer{stage}.{block}", stride if block == 0 else 1
            out = conv(normed(x, f"{name}.bn1"), f"{name}.conv1", padding=1)
            out = conv(normed(out, f"{name}.bn2"), f"{name}.conv2", padding=1, stride=by)
            x = out + (conv(x, f"{name}.shortcut.0", stride=by) if f"{name}.shortcut.0.weight" in state else x)
    return normed(x, "bn1").mean(dim=(2, 3)) @ state["linear.weight"].T + state["linear.bias"]


@pytest.mark.parametrize(("depth", "width", "channels", "size"), [(10, 1, 1, 8), (16, 2, 3, 12)])
def test_agrees_with_a_plain_loop(depth: int, width: int, channels: int, size: int) -> None:
    torch.manual_seed(0)
    model = WideResNet(depth, width, 0.3, channels, 7).double()
    x = torch.randn(5, channels, size, size, dtype=torch.float64)
    model(x)  # statistics other than their first values
    model.eval()
    torch.testing.assert_close(model(x), plain_forward(model.state_dict(), x, (depth - 4) // 6))
    torch.testing.assert_close(model(x), model(x), rtol=0, atol=0)


def test_the_last_norm_has_the_reference_codes_momentum() -> None:
    norms = {
        name: module.momentum for name, module in wide_28_10().named_modules() if isinstance(module, nn.BatchNorm2d)
    }
    assert norms.pop("bn1") == 0.9
    assert set(norms.values()) == {0.1}


def test_dropout_acts_in_training_between_the_convolutions_of_a_block() -> None:
    """Three tenths of what the second norm of a block sees is zero; nothing is dropped in evaluation."""
    torch.manual_seed(0)
    model = WideResNet(10, 4, 0.3, 3, 5)
    seen: list[Tensor] = []
    model.layer2[0].bn2.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    x = torch.randn(8, 3, 32, 32)
    model(x)
    model.eval()(x)
    in_training, in_evaluation = ((tensor == 0).double().mean().item() for tensor in seen)
    assert in_training == pytest.approx(0.3, abs=0.005)
    assert in_evaluation == 0


def test_a_depth_that_is_not_6n_plus_4_is_refused() -> None:
    with pytest.raises(ValueError, match="6n \\+ 4"):
        WideResNet(20, 10, 0.3, 3, 10)
