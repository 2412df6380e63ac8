"""Every class of torch.nn that holds a weight of two or more dimensions is covered, or known to stay uncovered."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest
from torch import nn

from acdc_cli.sparsity import uncovered_weights
from acdc_cli.sparsity.kinds import uses_of_weights

# The parameters of two or more dimensions that a class of torch.nn holds itself, and their kind; None: uncovered.
EXPECTED: dict[str, dict[str, str | None]] = {
    "Linear": {"weight": "linear"},
    "Bilinear": {"weight": None},
    **{f"Conv{axes}d": {"weight": "conv"} for axes in (1, 2, 3)},
    **{f"ConvTranspose{axes}d": {"weight": "transposed"} for axes in (1, 2, 3)},
    "Embedding": {"weight": "embedding"},
    "EmbeddingBag": {"weight": "embedding"},
    **{name: {"weight_ih_l0": "recurrent", "weight_hh_l0": "recurrent"} for name in ("LSTM", "GRU", "RNN")},
    **{f"{name}Cell": {"weight_ih": "recurrent", "weight_hh": "recurrent"} for name in ("LSTM", "GRU", "RNN")},
    "MultiheadAttention": {"in_proj_weight": "attention", "bias_k": None, "bias_v": None},
    # A norm over several axes has a scale and a shift of their shape.
    "LayerNorm": {"weight": None, "bias": None},
    "RMSNorm": {"weight": None},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "MultiheadAttention": {"embed_dim": 2, "num_heads": 1, "add_bias_kv": True},
    "LayerNorm": {"normalized_shape": (2, 2)},
    "RMSNorm": {"normalized_shape": (2, 2)},
    "AdaptiveLogSoftmaxWithLoss": {"in_features": 4, "n_classes": 4, "cutoffs": [2]},
    "RNNBase": {"mode": "LSTM", "input_size": 2, "hidden_size": 2},
    **{name: {"input_size": 2, "hidden_size": 2} for name in ("LSTM", "GRU", "RNN")},
    "RNNCellBase": {"input_size": 2, "hidden_size": 2, "bias": True, "num_chunks": 1},
    "Transformer": {"d_model": 2, "nhead": 1, "num_encoder_layers": 1, "num_decoder_layers": 1, "dim_feedforward": 2},
    "TransformerEncoder": {"encoder_layer": nn.TransformerEncoderLayer(2, 1, 2), "num_layers": 1},
    "TransformerDecoder": {"decoder_layer": nn.TransformerDecoderLayer(2, 1, 2), "num_layers": 1},
    "DataParallel": {"module": nn.Identity()},
    "Unflatten": {"dim": 1, "unflattened_size": (1, 1)},
    "FractionalMaxPool2d": {"kernel_size": 2, "output_size": 2},
    "FractionalMaxPool3d": {"kernel_size": 2, "output_size": 2},
}
# A lazy class has parameters without a shape, and its first batch makes it one of the others.
ABSTRACT = {"RNNBase", "RNNCellBase"}  # of recurrent layers and cells
CLASSES = {name: value for name, value in vars(nn).items() if inspect.isclass(value) and issubclass(value, nn.Module)}


def built(name: str) -> nn.Module:
    """One of torch.nn's modules, by the arguments above or by twos for whatever it needs."""
    if name in ARGUMENTS:
        return CLASSES[name](**ARGUMENTS[name])
    needed = [
        argument
        for argument in inspect.signature(CLASSES[name].__init__).parameters.values()
        if argument.default is inspect.Parameter.empty
        and argument.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        and argument.name != "self"
    ]
    return CLASSES[name](*[2] * len(needed))


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ABSTRACT and not name.startswith("Lazy")])
def test_a_class_of_torch_nn(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated classes, and encoders that have no nested tensors
        module = built(name)
    sized = {key for key, parameter in module.named_parameters(recurse=False) if parameter.dim() > 1}
    kinds = {use.attribute: use.kind for use in uses_of_weights(module) if use.module is module}
    expected = EXPECTED.get(name, {})
    assert sized == set(expected)
    assert kinds == {key: kind for key, kind in expected.items() if kind is not None}
    assert {key for key in uncovered_weights(module) if "." not in key} == {
        key for key, kind in expected.items() if kind is None
    }


def test_every_expected_class_exists_and_the_abstract_ones_are_of_covered_kinds() -> None:
    assert EXPECTED.keys() <= CLASSES.keys()
    for name in ABSTRACT:
        uses = list(uses_of_weights(built(name)))
        assert {use.kind for use in uses} == {"recurrent"} and len(uses) == 2
