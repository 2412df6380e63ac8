"""LeNet-300-100 and Caffe's LeNet-5: sizes by hand, and which images they take."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from acdc_cli.config.compose import compose_config
from acdc_cli.errors import BadInput
from acdc_cli.models.build import build_model
from acdc_cli.models.inputs import ImageInputs
from acdc_cli.planning.plan import plan
from acdc_cli.sparsity import prunable_weights

# name -> the shapes of all weights on 28x28x1 and 10 classes, and their number.
SIZES = {
    "mlp": ([(300, 784), (100, 300), (10, 100)], 266_200),
    "lenet5": ([(20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500)], 430_500),
}


def built(name: str, channels: int = 1, height: int = 28, width: int = 28) -> nn.Module:
    return build_model(compose_config([f"model={name}"]).model, ImageInputs(channels, height, width, 10))


@pytest.mark.parametrize("name", SIZES)
def test_the_weights_are_those_of_the_literature(name: str) -> None:
    shapes, count = SIZES[name]
    weights = prunable_weights(built(name))
    assert [tuple(weight.shape) for weight in weights.values()] == shapes
    assert sum(weight.numel() for weight in weights.values()) == count
    # A model is a run's own recipe: its data set is known without having it.
    assert plan(compose_config([f"model={name}"]))["prunable_weights"] == count


@pytest.mark.parametrize("name", SIZES)
def test_images_of_other_sizes_and_colours(name: str) -> None:
    for channels, height, width in ((3, 32, 32), (1, 29, 41)):
        assert built(name, channels, height, width)(torch.zeros(2, channels, height, width)).shape == (2, 10)


def test_lenet5_is_linear_up_to_its_one_relu_as_in_caffe() -> None:
    """Without biases and with max pooling, scaling the image by 2 scales the logits by 2."""
    model = built("lenet5")
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.zeros_(layer.bias)
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(2 * images), 2 * model(images))
    features = torch.nn.functional.max_pool2d(model.conv1(images), 2)
    assert (features < 0).any()  # a ReLU after the convolution would leave none


def test_lenet5_refuses_images_of_which_its_convolutions_leave_nothing() -> None:
    assert built("lenet5", height=16, width=16)(torch.zeros(1, 1, 16, 16)).shape == (1, 10)
    with pytest.raises(BadInput, match="model=lenet5: needs images of at least 16x16 pixels, not 15x28"):
        built("lenet5", height=15)
