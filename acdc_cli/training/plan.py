"""What a run would be, without data and without training."""

from __future__ import annotations

from typing import Any

from acdc_cli.compose import timeline_of
from acdc_cli.config import Config
from acdc_cli.data.sources import SOURCES
from acdc_cli.errors import BadInput
from acdc_cli.measure.flops import LayerSize, closed_form_train_fraction, inference_flops, layer_sizes
from acdc_cli.models import build_model
from acdc_cli.sparsity.allocate import Allocation, AllocationError, Pattern, excluded_layers, parse_target
from acdc_cli.sparsity.prunable import prunable_weights


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
    inference_fraction = 1.0 if is_dense else _inference_fraction(config, model, sizes)
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
        "dense_inference_flops": inference_flops(sizes),
        "closed_form_assumes": "every pruned layer at the target, no weight zero in dense phases",
        "inference_flops_fraction": inference_fraction,
        "train_flops_fraction": closed_form_train_fraction(
            inference_fraction, timeline.sparse_epochs, timeline.total_epochs
        ),
    }


def _inference_fraction(config: Config, model: Any, sizes: dict[str, LayerSize]) -> float:
    target = parse_target(config.sparsity.target)
    removed = 1 - target.kept / target.group if isinstance(target, Pattern) else target
    allocation = Allocation(
        target, config.sparsity.distribution, config.sparsity.min_layer_density, config.sparsity.indivisible
    )
    try:
        excluded = excluded_layers({name: w.shape for name, w in prunable_weights(model).items()}, allocation)
    except AllocationError as error:
        raise BadInput(f"sparsity.target={config.sparsity.target} model={config.model.name}: {error}") from None
    left = {
        name: size.weights - (0 if name in excluded else round(removed * size.weights)) for name, size in sizes.items()
    }
    return inference_flops(sizes, left) / inference_flops(sizes)
