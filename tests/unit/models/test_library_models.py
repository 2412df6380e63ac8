"""torchvision's and timm's classifiers by name: theirs to the bit; what cannot be is said in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

from acdc_cli import load_model
from acdc_cli.config.compose import compose_config
from acdc_cli.config.text import to_yaml
from acdc_cli.data.resolution import keys_of_size
from acdc_cli.errors import BadInput
from acdc_cli.measure.flops import inference_flops, layer_sizes
from acdc_cli.models.build import build_model, build_skeleton
from acdc_cli.models.fit import require_fit
from acdc_cli.models.inputs import ImageInputs
from acdc_cli.planning.plan import plan
from acdc_cli.planning.start import load_start
from acdc_cli.sparsity import prunable_weights

# Parameters as torchvision's documentation lists them for its weights, of 1000 classes.
PARAMETERS = {"resnet18": 11_689_512, "resnet50": 25_557_032, "mobilenet_v2": 3_504_872, "vgg11": 132_863_336}


def built(*typed: str, channels: int = 3, classes: int = 1000) -> nn.Module:
    return build_model(compose_config(list(typed)).model, ImageInputs(channels, 32, 32, classes))


def skeleton(*typed: str, channels: int = 3, classes: int = 1000) -> nn.Module:
    return build_skeleton(compose_config(list(typed)).model, ImageInputs(channels, 32, 32, classes))


@pytest.mark.parametrize("name", PARAMETERS)
def test_torchvisions_have_their_published_parameter_counts(name: str) -> None:
    model = skeleton("model=torchvision", f"model.name={name}")
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("typed", "theirs"),
    [
        ("model=torchvision model.name=resnet18", lambda: torchvision.models.resnet18(num_classes=7)),
        ("model=timm model.name=test_resnet", lambda: timm.create_model("test_resnet", num_classes=7)),
        ("model=timm model.name=test_vit", lambda: timm.create_model("test_vit", num_classes=7)),
    ],
)
def test_a_model_by_name_is_the_librarys_own(typed: str, theirs: object, tmp_path: Path) -> None:
    """Same keys and, from the same seed, the same first weights; a plain state dict of theirs loads."""
    torch.manual_seed(3)
    model = built(*typed.split(), classes=7)
    torch.manual_seed(3)
    original = theirs()  # type: ignore[operator]
    assert type(model) is type(original)
    states = model.state_dict(), original.state_dict()
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    for tensor in original.state_dict().values():
        tensor.add_(1)
    torch.save(original.state_dict(), tmp_path / "theirs.pt")
    load_start(model, compose_config([*typed.split(), f"start_from={tmp_path}/theirs.pt"]))
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in original.state_dict().items())


@pytest.mark.parametrize("model", ["resnet50", "torchvision model.name=resnet50", "timm model.name=resnet50"])
def test_resnet50_is_resnet50_wherever_it_comes_from(model: str) -> None:
    """25,502,912 weights and 8.178 GFLOPs: published."""
    network = skeleton(*f"model={model}".split())
    assert sum(weight.numel() for weight in prunable_weights(network).values()) == 25_502_912
    assert inference_flops(layer_sizes(network, (3, 224, 224))) == pytest.approx(8.178e9, abs=0.5e6)


def test_a_torchvision_checkpoint_loads_into_resnet50_and_into_torchvisions(tmp_path: Path) -> None:
    state = torchvision.models.resnet50(num_classes=10).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    for typed in ("model=resnet50", "model=torchvision model.name=resnet50"):
        model = built(*typed.split(), classes=10)
        load_start(model, compose_config([*typed.split(), f"start_from={tmp_path}/weights.pth"]))
        assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())


def test_timm_takes_images_of_any_channels() -> None:
    model = skeleton("model=timm", "model.name=test_resnet", channels=1, classes=10)
    assert next(iter(prunable_weights(model).values())).shape[1] == 1
    require_fit("test_resnet", model, (1, 8, 8), 10)


def test_what_is_built_for_a_plan_has_the_same_shapes() -> None:
    """RegNet computes with values while it is built, which the meta device has not."""
    for typed in ("model=torchvision model.name=regnet_y_400mf", "model=timm model.name=test_vit", "model=resnet20"):
        planned, real = skeleton(*typed.split()), built(*typed.split())
        assert all(tensor.is_meta for tensor in planned.state_dict().values())
        assert {k: v.shape for k, v in planned.state_dict().items()} == {
            k: v.shape for k, v in real.state_dict().items()
        }


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_are_left_out(name: str) -> None:
    model = skeleton("model=torchvision", f"model.name={name}", classes=10)
    require_fit(name, model, (3, 299, 299), 10)


REFUSED = {
    "model=torchvision model.name=resnet19": ["model.name=resnet19", "model.name=resnet18", "torchvision"],
    "model=timm model.name=resnet19": ["model.name=resnet19", "model.name=resnet18", "timm"],
    "model=torchvision model.name=resnet5O": ["model.name=resnet5O", "model.name=resnet50 or ", "torchvision"],
    "model=timm model.name=resnet5O": ["model.name=resnet5O", "model.name=resnet50 or ", "timm"],
    "model=torchvision model.name=Vit-B16": ["did you mean model.name=vit_b_16 or "],
    "model=timm model.name=conv_next_atto": ["did you mean model.name=convnext_atto or "],
    "model=timm model.name=resnet50.a1_in1k": ["model.name=resnet50.a1_in1k", "model.name=resnet50?"],
    "model=timm model.name=timm/ResNet50.a1_in1k": ["did you mean model.name=resnet50?"],
    "model=torchvision model.name=zzzz": ["did you mean model.name=", "It has 80 classifiers"],
    "model=torchvision dataset=digits dataset.crop_padding=1": [
        "model.name=resnet18",
        "3 channels",
        "have 1",
        "model=timm",
    ],
    "model=timm model.name=vit_tiny_patch16_224 dataset=cifar10": [
        "model.name=vit_tiny_patch16_224: cannot take images of 3 x 32 x 32",
        "choose a model for this size: this one takes 224 x 224",
        "dataset=patches with dataset.resolution=224",
    ],
    "model=timm model.name=vit_tiny_patch16_224 dataset.resolution=256": [
        "dataset.resolution=256 model.name=vit_tiny_patch16_224: cannot take images of 3 x 256 x 256",
        "use dataset.resolution=224",
    ],
    "model=timm model.name=swinv2_tiny_window8_256": [
        "dataset.resolution=224 model.name=swinv2_tiny_window8_256: cannot take images of 3 x 224 x 224",
        "use dataset.resolution=256",
    ],
    "model=torchvision model.name=vit_b_16 dataset=patches": [
        "dataset.resolution=64 model.name=vit_b_16: cannot take images of 3 x 64 x 64",
        "use dataset.resolution=224",
    ],
    "model=torchvision model.name=vit_b_16 dataset.train_resolution_start=160 dataset.train_resolution_end=224"
    " dataset.ramp_start=0.2 dataset.ramp_end=0.4": [
        "dataset.train_resolution_start=160 model.name=vit_b_16: cannot take images of 3 x 160 x 160",
        "use dataset.train_resolution_start=224",
    ],
    # The torchvision model does not say what it was made for; 7 x 7 windows fit 224 alone of the usual sizes.
    "model=torchvision model.name=maxvit_t dataset.resolution=256": [
        "dataset.resolution=256 model.name=maxvit_t: cannot take images of 3 x 256 x 256",
        "use dataset.resolution=224",
    ],
    "model=torchvision model.name=inception_v3 dataset=cifar10": [
        "model.name=inception_v3",
        "3 x 32 x 32",
        "choose a model",
    ],
    "model=timm model.name=qwen3_vit_88m_enc": ["model.name=qwen3_vit_88m_enc", "1000 classes", "choose a classifier"],
}


@pytest.mark.parametrize("typed", REFUSED)
def test_what_does_not_fit_is_one_line_before_data_is_looked_for(typed: str) -> None:
    with pytest.raises(BadInput) as refused:
        plan(compose_config(typed.split()))
    assert "\n" not in str(refused.value)
    assert [part for part in REFUSED[typed] if part not in str(refused.value)] == [], refused.value


FIXED = {
    "model=timm model.name=swinv2_tiny_window8_256": ["dataset.resolution=256"],
    "model=torchvision model.name=vit_b_16 dataset=patches": ["dataset.resolution=224"],
    "model=torchvision model.name=vit_b_16 dataset.train_resolution_start=160 dataset.train_resolution_end=192"
    " dataset.ramp_start=0.2 dataset.ramp_end=0.4": [
        "dataset.train_resolution_start=224",
        "dataset.train_resolution_end=224",
    ],
}


@pytest.mark.parametrize("typed", FIXED)
def test_the_resolution_that_the_line_names_fits(typed: str) -> None:
    """Typing what each line says, one after the other, ends in a plan."""
    words = typed.split()
    for correction in FIXED[typed]:
        with pytest.raises(BadInput, match=f"; use {correction}$"):
            plan(compose_config(words))
        words.append(correction)
    assert plan(compose_config(words))["inference_flops_fraction"] < 1


def test_a_size_in_the_middle_of_a_ramp_comes_from_both_ends() -> None:
    """From 224 to 256 in multiples of 16 it is 240 in between, which only a network for any size would take."""
    typed = "model=timm model.name=test_vit dataset.train_resolution_start=224 dataset.train_resolution_end=256"
    config = compose_config([*typed.split(), "dataset.ramp_start=0.2", "dataset.ramp_end=0.8"])
    ends = (("dataset.train_resolution_start", 224), ("dataset.train_resolution_end", 256))
    assert keys_of_size(config, 240) == ends
    assert keys_of_size(config, 256) == ends[1:]
    assert keys_of_size(config, 224) == (("dataset.resolution", 224), ends[0])
    assert keys_of_size(compose_config([]), 8) == ()


def test_several_outputs_are_refused() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> object:
            return (self.fc(x.flatten(1)), x) if self.training else self.fc(x.flatten(1))

    model = Two()
    with pytest.raises(BadInput, match="gives a tuple"):
        require_fit("two", model, (1, 2, 2), 2)


def test_without_timm_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acdc_cli.packages.find_spec", lambda name: None)
    install = f"{sys.executable} -m pip install timm"
    with pytest.raises(BadInput) as refused:
        plan(compose_config(["model=timm", "model.name=convnext_atto"]))
    assert str(refused.value) == f"model.name=convnext_atto: timm is not installed; {install}"
    with pytest.raises(BadInput) as refused:
        compose_config(["optimizer=lamb"])
    assert str(refused.value) == f"optimizer.name=lamb: timm is not installed; {install}"


def test_a_finished_runs_model_comes_back(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    config = compose_config(["model=timm", "model.name=test_resnet", "dataset=digits"])
    model = build_model(config.model, ImageInputs(1, 32, 32, 10))
    (tmp_path / "models").mkdir()
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    (tmp_path / "status.json").write_text('{"state": "done", "epoch": 1, "error": null}')
    save_file(model.state_dict(), tmp_path / "models" / "sparse.safetensors")
    loaded = load_model(tmp_path)
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
