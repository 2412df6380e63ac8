"""What a run would be, without data and without training."""

from __future__ import annotations

from typing import Any

from torch import nn

from acdc_cli.compose import allocation_of, timeline_of
from acdc_cli.config import Config
from acdc_cli.data.sources import SOURCES
from acdc_cli.errors import BadInput
from acdc_cli.measure.flops import LayerSize, closed_form_train_fraction, inference_flops, layer_sizes
from acdc_cli.models import build_model
from acdc_cli.sparsity.allocate import closed_form_nonzeros, shares_of
from acdc_cli.sparsity.prunable import prunable_layers
from acdc_cli.sparsity.rules import excluded
from acdc_cli.sparsity.target import AllocationError


def plan(config: Config) -> dict[str, Any]:
    """Timeline, prunable weights, dense FLOPs and the closed-form training fraction of a complete config.

    The closed form assumes that every pruned layer has the target sparsity (so it is exact for uniform and N:M; a
    global ranking's own fraction depends on the trained weights) and that no weight stays zero in dense phases.

    Raises:
        BadInput: if the model cannot take the sparsity.
    """
    source = SOURCES[config.dataset.name]
    model = build_model(config.model, source.sample_shape[0], source.classes)
    sizes = layer_sizes(model, source.sample_shape)
    timeline = timeline_of(config)
    is_dense = config.method.name == "dense"
    left, stay_dense = _weights_left(config, model)
    if is_dense:
        left = {name: size.weights for name, size in sizes.items()}
    inference_fraction = inference_flops(sizes, left) / inference_flops(sizes)
    pruned = [name for name in sizes if name not in stay_dense]
    return {
        "model": config.model.name,
        "dataset": config.dataset.name,
        "method": config.method.name,
        "epochs": config.epochs,
        "timeline": [[phase.kind, phase.start_epoch, phase.end_epoch] for phase in timeline.phases],
        "sparse_epochs": timeline.sparse_epochs,
        "sparsity_target": None if is_dense else config.sparsity.target,
        "distribution": None if is_dense else config.sparsity.distribution,
        "prunable_weights": sum(size.weights for size in sizes.values()),
        "nonzero_weights": sum(left[name] for name in sizes),
        "sparsity": _sparsity(sizes, left, list(sizes)),
        "sparsity_of_pruned_layers": _sparsity(sizes, left, pruned),
        "stay_dense": stay_dense,
        "dense_inference_flops": inference_flops(sizes),
        "closed_form_assumes": "every pruned layer at the target, no weight zero in dense phases",
        "inference_flops_fraction": inference_fraction,
        "train_flops_fraction": closed_form_train_fraction(
            inference_fraction, timeline.sparse_epochs, timeline.total_epochs
        ),
    }


def _sparsity(sizes: dict[str, LayerSize], left: dict[str, int], names: list[str]) -> float:
    return 1 - sum(left[name] for name in names) / sum(sizes[name].weights for name in names)


def _weights_left(config: Config, model: nn.Module) -> tuple[dict[str, int], list[str]]:
    """Weights that each layer has left in a sparse phase, and the names of those that stay dense."""
    allocation = allocation_of(config)
    try:
        layers = prunable_layers(model, allocation.embeddings)
        return closed_form_nonzeros(layers, allocation), excluded(shares_of(layers, allocation))
    except AllocationError as error:
        key = "sparsity.rules" if allocation.rules else f"sparsity.target={config.sparsity.target}"
        raise BadInput(f"{key} model={config.model.name}: {error}") from None
