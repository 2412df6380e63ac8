"""Find the weights that a sparse method may prune, and the words by which the rules of a config match them."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import UninitializedParameter

from acdc_cli.sparsity.ends import first_and_last
from acdc_cli.sparsity.kinds import Use, uses_of_weights
from acdc_cli.sparsity.layer import Layer
from acdc_cli.sparsity.layout import OUTPUTS_FIRST, Layout


def prunable_weights(model: nn.Module, embeddings: bool = False) -> dict[str, nn.Parameter]:
    """Return every weight that can be pruned, by parameter name, in model order.

    These are the ``weight`` of linear layers (Hugging Face's ``Conv1D`` among them), of convolutions and of transposed
    convolutions, the input and output projections of ``nn.MultiheadAttention``, and the matrices of ``nn.LSTM``,
    ``nn.GRU``, ``nn.RNN`` and their cells (``nn.LSTMCell`` and the like). Depth-wise, first, last and short-cut layers
    are included. Biases, norm parameters and bare parameters never are. A weight that two layers share appears once,
    under its first name.

    The weight of an ``nn.Embedding`` or ``nn.EmbeddingBag`` is not a prunable weight, even if a linear layer shares it,
    as the output layer of GPT-2 does.

    Args:
        embeddings: also return the weights of embeddings, because a rule can give them a target.

    Raises:
        ValueError: naming a layer whose weight is not an ordinary parameter.
    """
    uses = list(uses_of_weights(model))
    embedding_ids = {id(use.weight) for use in uses if use.kind == "embedding"}
    weights: dict[int, tuple[str, nn.Parameter]] = {}
    for use in uses:
        if embeddings or id(use.weight) not in embedding_ids:
            weights.setdefault(id(use.weight), (use.name, _parameter(use)))
    return dict(weights.values())


def _parameter(use: Use) -> nn.Parameter:
    layer, weight = use.path, use.weight
    if isinstance(weight, UninitializedParameter):
        raise ValueError(f"{layer}: its weight has no shape yet; run one batch through the model first")
    if not isinstance(weight, nn.Parameter):
        raise ValueError(
            f"{layer}: its weight is computed anew in each forward pass (weight norm, torch.nn.utils.prune or another "
            "parametrization); remove the parametrization first"
        )
    if hasattr(weight, "device_mesh"):
        raise ValueError(f"{layer}: its weight is sharded over ranks (DTensor, FSDP), which is not supported")
    return weight


def prunable_layers(model: nn.Module, embeddings: bool = False) -> dict[str, Layer]:
    """Return the ``Layer`` (shape, words, layout) of each of the ``prunable_weights``.

    The weight of an embedding has the word ``embedding`` and no word of another kind. It also has the word ``last`` if
    the model's last layer is a linear layer that shares the weight.
    """
    weights = prunable_weights(model, embeddings)
    uses = list(uses_of_weights(model))
    of_weight: dict[int, list[Use]] = {}
    for use in uses:
        of_weight.setdefault(id(use.weight), []).append(use)
    first, last = first_and_last(model, uses)
    layers = {}
    for name, weight in weights.items():
        its_uses = of_weight[id(weight)]
        as_embedding = [use for use in its_uses if use.kind == "embedding"]
        words = frozenset().union(*(use.words for use in as_embedding or its_uses))
        words |= {word for word, ends in (("first", first), ("last", last)) if id(weight) in ends}
        layout = its_uses[0].layout
        aliases = tuple(use.name for use in its_uses if use.name != name)
        layers[name] = Layer(layout.shape_outputs_first(weight.shape), words, layout, aliases)
    return layers


def weight_layouts(model: nn.Module) -> dict[str, Layout]:
    """Return the layouts of the prunable weights that are not stored outputs first, by name."""
    return {name: layer.layout for name, layer in prunable_layers(model).items() if layer.layout != OUTPUTS_FIRST}
