"""ResNets for small images: torchvision's keys and arithmetic, the paper's counts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock as TorchvisionBlock

from acdc_cli.models.resnet import BasicBlock, ResNet
from acdc_cli.sparsity import prunable_weights


def randomized(model: nn.Module) -> nn.Module:
    """In eval mode, with norms that do something."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                values = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(values + 0.5 if "running_var" in name else values - 0.4)
    return model.eval()


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def plain_resnet(state: dict[str, Tensor], x: Tensor, blocks: int) -> Tensor:
    """The forward pass from a state dict alone; identity short-cuts pad channels with zeros on both sides."""

    def normed(name: str, x: Tensor) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scaled = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]

    x = normed("bn1", F.conv2d(x, state["conv1.weight"], padding=1)).clamp(min=0)
    for stage in (1, 2, 3):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            out = F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            out = normed(f"{name}.bn1", out).clamp(min=0)
            out = normed(f"{name}.bn2", F.conv2d(out, state[f"{name}.conv2.weight"], padding=1))
            if f"{name}.downsample.0.weight" in state:
                x = normed(f"{name}.downsample.1", F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride))
            elif stride == 2:
                padded = torch.zeros_like(out)
                quarter = out.shape[1] // 4
                padded[:, quarter : quarter + x.shape[1]] = x[:, :, ::2, ::2]
                x = padded
            x = (out + x).clamp(min=0)
    return x.mean(dim=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize("shortcut", ["identity", "conv"])
@pytest.mark.parametrize(("depth", "size"), [(8, 8), (8, 9), (20, 16)])
def test_agrees_with_a_plain_loop(shortcut: str, depth: int, size: int) -> None:
    model = randomized(ResNet(depth, width=4, in_channels=2, classes=5, shortcut=shortcut)).double()
    x = images(3, 2, size, size).double()
    expected = plain_resnet(model.state_dict(), x, blocks=(depth - 2) // 6)
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize(("in_channels", "channels", "stride"), [(8, 8, 1), (8, 16, 2), (8, 16, 1), (8, 8, 2)])
def test_a_block_is_torchvisions(in_channels: int, channels: int, stride: int) -> None:
    ours = randomized(BasicBlock(in_channels, channels, stride, "conv"))
    downsample = None
    if stride != 1 or in_channels != channels:
        downsample = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
    theirs = TorchvisionBlock(in_channels, channels, stride, downsample).eval()
    theirs.load_state_dict(ours.state_dict())  # strict: the same keys
    x = images(2, in_channels, 6, 6)
    torch.testing.assert_close(ours(x), theirs(x))


def test_identity_short_cuts_have_no_parameters() -> None:
    assert not any("downsample" in name for name in ResNet(depth=20).state_dict())
    with_conv = ResNet(depth=20, shortcut="conv").state_dict()
    assert {name for name in with_conv if name.endswith("downsample.0.weight")} == {
        "layer2.0.downsample.0.weight",
        "layer3.0.downsample.0.weight",
    }


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"depth": 20}, 268_336),
        ({"depth": 20, "shortcut": "conv"}, 268_336 + 16 * 32 + 32 * 64),
        ({"depth": 20, "classes": 100}, 268_336 + 64 * 90),
        ({"depth": 20, "in_channels": 1}, 268_336 - 2 * 16 * 9),
        ({"depth": 8, "width": 8}, 9 * (3 * 8 + 2 * 8 * 8 + 8 * 16 + 16 * 16 + 16 * 32 + 32 * 32) + 320),
    ],
    ids=str,
)
def test_prunable_weights_by_hand(options: dict, count: int) -> None:
    assert sum(weight.numel() for weight in prunable_weights(ResNet(**options)).values()) == count


@pytest.mark.parametrize(("depth", "layers"), [(8, 8), (14, 14), (20, 20), (56, 56)])
def test_the_depth_counts_weight_layers(depth: int, layers: int) -> None:
    assert len(prunable_weights(ResNet(depth, width=2))) == layers


@pytest.mark.parametrize("depth", [2, 7, 18, 21, 51])
def test_a_depth_that_is_not_6n_plus_2_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=str(depth)):
        ResNet(depth)


def test_an_unknown_short_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="pad"):
        ResNet(8, shortcut="pad")


def test_channels_last_gives_the_same_logits() -> None:
    model = randomized(ResNet(8, width=4)).double()
    x = images(2, 3, 8, 8).double()
    expected = model(x)
    torch.testing.assert_close(
        model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last)), expected
    )


def test_equal_seeds_give_equal_networks() -> None:
    networks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        networks.append(ResNet(8).conv1.weight)
    assert torch.equal(networks[0], networks[1])
    assert not torch.equal(networks[0], networks[2])
