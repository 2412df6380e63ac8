"""Which layers are the first and the last: timm says it of its own models, of others the model order does."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from acdc_cli.config.compose import compose_config
from acdc_cli.planning.plan import plan
from acdc_cli.sparsity import prunable_layers

FAMILIES = {family: timm.list_models(module=family)[0] for family in timm.list_modules()}
# Families whose smallest models are spelled out below, and those of which an encoder without a head is the first one.
ENCODERS = ("vit_base_patch16_siglip_gap_224", "davit_base_fl", "gemma4_vit_167m_enc", "qwen3_vit_88m_enc")


def on_meta(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, **options)


def ends(model: nn.Module) -> tuple[list[str], list[str]]:
    """Layers with the word ``first`` and layers with the word ``last``."""
    layers = prunable_layers(model, embeddings=True)
    first, last = (
        [name.removesuffix(".weight") for name in layers if word in layers[name].words] for word in ("first", "last")
    )
    return first, last


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("crossvit_tiny_240", ["patch_embed.0.proj", "patch_embed.1.proj"], ["head.0", "head.1"]),
        ("mobileone_s0", ["stem.conv_kxk.0.conv", "stem.conv_scale.conv"], ["head.fc"]),
        ("repvgg_a0", ["stem.conv_kxk.conv", "stem.conv_1x1.conv"], ["head.fc"]),
        ("fastvit_t8", ["stem.0.conv_kxk.0.conv", "stem.0.conv_scale.conv"], ["head.fc"]),
        ("levit_128s", ["stem.conv1.linear"], ["head.linear", "head_dist.linear"]),
        ("hiera_tiny_224", ["patch_embed.proj"], ["head.fc"]),
        # A discrete cosine transform takes the image, and three layers take its brightness and its two colours.
        ("csatv2", ["stem_dct.conv_y", "stem_dct.conv_cb", "stem_dct.conv_cr"], ["head.fc"]),
        ("vit_base_patch16_siglip_gap_224", ["patch_embed.proj"], []),
    ],
)
def test_ends_of_models_whose_order_would_mislead(name: str, first: list[str], last: list[str]) -> None:
    assert ends(on_meta(name)) == (first, last)


@pytest.mark.parametrize("options", [{"num_classes": 0}, {"features_only": True}], ids=str)
def test_a_model_built_without_its_head_has_no_last_layer(options: dict) -> None:
    assert ends(on_meta("resnet18", **options)) == (["conv1"], [])


def test_a_wrapper_around_one_model_changes_nothing() -> None:
    """As a LightningModule or a Trainer's module holds it; beside other layers it is a part, and the order counts."""
    encoder = on_meta("resnet18", num_classes=0)
    assert ends(nn.ModuleDict({"net": nn.ModuleDict({"inner": encoder, "act": nn.ReLU()})})) == (
        ["net.inner.conv1"],
        [],
    )
    assert ends(nn.ModuleDict({"net": encoder, "fc": nn.Linear(512, 10)})) == (["net.conv1"], ["fc"])


def test_a_container_gives_the_word_to_all_of_its_layers() -> None:
    """Parallel branches of a stem that the configuration names as one."""
    model = nn.ModuleDict({"stem": nn.ModuleList([nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3)]), "fc": nn.Linear(4, 4)})
    model.default_cfg = {"first_conv": "stem", "classifier": ("fc", "fc_of_a_teacher")}
    assert ends(model) == (["stem.0", "stem.1"], ["fc"])


def test_a_configuration_that_names_no_stem_leaves_it_to_the_order() -> None:
    model = nn.ModuleDict({"a": nn.Conv2d(3, 4, 1), "b": nn.Linear(4, 4)})
    for config in ({"classifier": "b"}, {"first_conv": "elsewhere", "classifier": "b"}):
        model.pretrained_cfg = config
        assert ends(model) == (["a"], ["b"])
    model.pretrained_cfg = {"first_conv": [], "classifier": "b"}  # none, and the first weight is in no stem
    assert ends(model) == (["a"], ["b"])
    model.pretrained_cfg = {"input_size": (3, 8, 8)}  # says neither
    assert ends(model) == (["a"], ["b"])


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [*FAMILIES.values(), *ENCODERS])
def test_the_words_agree_with_timm(name: str) -> None:
    """By timm's configuration alone: a layer has the word if the module that is named there holds its parameter.

    Where an empty list is named there, as of csatv2, see above.
    """
    model = on_meta(name)
    layers = prunable_layers(model, embeddings=True)
    for key, word in (("first_conv", "first"), ("classifier", "last")):
        value = model.default_cfg.get(key)
        names = [value] if isinstance(value, str) else list(value or ())
        held = {
            id(parameter)
            for path, module in model.named_modules()
            if path in names
            for parameter in module.parameters()
        }
        expected = [each for each in layers if id(model.get_parameter(each)) in held]
        found = [each for each, layer in layers.items() if word in layer.words]
        assert found == expected or value == []
        is_encoder = word == "last" and model.num_classes == 0
        assert bool(found) != is_encoder


@pytest.mark.parametrize("chosen", ["method=rigl sparsity=uniform", "method=set sparsity=uniform"])
def test_a_uniform_rule_for_the_first_layer_has_one_in_a_model_without_a_first_convolution(chosen: str) -> None:
    found = plan(compose_config(f"model=timm model.name=csatv2 {chosen} sparsity.target=0.8".split()))
    assert found["stay_dense"] == ["stem_dct.conv_y.weight", "stem_dct.conv_cb.weight", "stem_dct.conv_cr.weight"]
