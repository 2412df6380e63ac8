"""What a run would be, without data and without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from acdc_cli.compose import allocation_of, from_yaml
from acdc_cli.config import FROM_DENSE, Config, is_pruned_to_target, known
from acdc_cli.data.sources import SOURCES
from acdc_cli.errors import BadInput
from acdc_cli.measure.flops import LayerSize, closed_form_train_fraction, inference_flops, layer_sizes
from acdc_cli.models import build_skeleton
from acdc_cli.models.fit import require_fit
from acdc_cli.records.folder import RunFolder
from acdc_cli.resolution import view_of
from acdc_cli.schedule import epoch_window, timeline_of
from acdc_cli.sparsity.allocate import closed_form_nonzeros, require_something_left, shares_of
from acdc_cli.sparsity.prunable import prunable_layers, prunable_weights
from acdc_cli.sparsity.rules import excluded
from acdc_cli.sparsity.target import AllocationError
from acdc_cli.sparsity.window import gradual_sparsity
from acdc_cli.training.precision import planned_dtype
from acdc_cli.training.start import goes_on_from_a_run, require_dense_start, start_state


def plan(config: Config) -> dict[str, Any]:
    """Timeline, prunable weights, dense FLOPs and the closed-form training fraction of a complete config.

    The closed form assumes that every pruned layer has the target sparsity (so it is exact for uniform and N:M; a
    global ranking's own fraction depends on the trained weights) and that no weight stays zero in dense phases.

    Raises:
        BadInput: if the model cannot take the sparsity.
    """
    images = SOURCES[config.dataset.name]
    model = build_skeleton(config.model, images.sample_shape[0], images.classes)
    resolutions = [view_of(config, epoch, images.sample_shape[-1]).resolution for epoch in range(known(config.epochs))]
    resolution = view_of(config, None, images.sample_shape[-1]).resolution
    shape_at = {pixels: (images.sample_shape[0], pixels, pixels) for pixels in {resolution, *resolutions}}
    for shape in shape_at.values():
        require_fit(config.model.name, model, shape, images.classes)
    sizes_at = {pixels: layer_sizes(model, shape) for pixels, shape in shape_at.items()}
    sizes, timeline = sizes_at[resolution], timeline_of(config)
    phases = [[phase.kind, phase.start_epoch, phase.end_epoch] for phase in timeline.phases]
    if config.first_epoch is not None:
        phases = [["dense", config.first_epoch, config.epochs]]
    is_pruned = is_pruned_to_target(config)
    left, stay_dense = _weights_left(config, model)
    dense_flops = {pixels: inference_flops(sizes_at[pixels]) for pixels in sizes_at}
    sparse_flops = {pixels: inference_flops(sizes_at[pixels], left) for pixels in sizes_at}
    pruned = [name for name in sizes if name not in stay_dense]
    fraction = _train_fraction(config, resolutions, dense_flops, sparse_flops)
    return {
        "model": config.model.name,
        "dataset": config.dataset.name,
        "method": config.method.name,
        "epochs": config.epochs,
        "precision": planned_dtype(config),
        "timeline": phases,
        "sparse_epochs": timeline.sparse_epochs,
        "sparsity_target": config.sparsity.target if is_pruned else None,
        "distribution": config.sparsity.distribution if is_pruned else None,
        "prunable_weights": sum(size.weights for size in sizes.values()),
        "nonzero_weights": sum(left[name] for name in sizes),
        "sparsity": _sparsity(sizes, left, list(sizes)),
        "sparsity_of_pruned_layers": _sparsity(sizes, left, pruned),
        "stay_dense": stay_dense,
        "dense_inference_flops": dense_flops[resolution],
        "train_flops_per_sample": 3 * fraction * sum(dense_flops[pixels] for pixels in resolutions),
        "closed_form_assumes": "every pruned layer at the target, no weight zero in dense phases",
        "inference_flops_fraction": sparse_flops[resolution] / dense_flops[resolution],
        "train_flops_fraction": fraction,
    }


def _train_fraction(config: Config, resolutions: list[int], dense: dict[int, int], sparse: dict[int, int]) -> float:
    """Of a dense run of the same epochs and resolutions. Fine-tuning counts what it goes on from (AC/DC, appendix B.2).

    Args:
        resolutions: of every epoch.
        dense, sparse: resolution -> forward pass of the dense and of the sparse network.
    """
    whole = sum(dense[pixels] for pixels in resolutions)
    if config.finetune is not None:
        before = plan(from_yaml(RunFolder(Path(str(config.start_from))).config.read_text()))
        tail = sum(dense[pixels] for pixels in resolutions[known(config.first_epoch) :])
        return before["train_flops_fraction"] + tail / whole
    if config.method.name not in ("acdc", "dense"):
        first = goes_on_from_a_run(config) or (config.method.name in FROM_DENSE and config.start_from is None)
        costs = (_cost(config, epoch, sparse[pixels] / dense[pixels]) for epoch, pixels in enumerate(resolutions))
        return first + sum(cost * dense[pixels] for cost, pixels in zip(costs, resolutions, strict=True)) / whole
    timeline, spent = timeline_of(config), 0.0
    for pixels in sorted(set(resolutions)):
        kinds = [timeline.phase(epoch).kind for epoch, other in enumerate(resolutions) if other == pixels]
        fraction = closed_form_train_fraction(sparse[pixels] / dense[pixels], kinds.count("sparse"), len(kinds))
        spent += fraction * dense[pixels] * len(kinds)
    return spent / whole


def _cost(config: Config, epoch: int, f: float) -> float:
    """An epoch's training FLOPs over a dense one's (3F), by the method's own rule.

    Args:
        f: the forward pass's FLOPs at the target sparsity, over F.
    """
    method, epochs = config.method, known(config.epochs)
    if method.name == "woodfisher":  # whose Fisher matrices come on top, by the data that there are
        window = epoch_window(config)
        progress = window.progress(epoch - (epoch - window.start) % window.interval)  # of the pruning before
        initial = 1 - known(method.initial_sparsity)
        return gradual_sparsity(initial, f, progress, known(method.power)) if epoch >= window.start else 1.0
    if method.name == "gmp":
        start, end = (known(fraction) * epochs for fraction in (method.start, method.end))
        progress = min(max((epoch + 1 - start) / (end - start), 0.0), 1.0) if end > start else float(epoch + 1 > start)
        initial = 1.0 if epoch + 1 < start else 1 - known(method.initial_sparsity)
        return f + (initial - f) * (1 - progress) ** known(method.power)
    if method.name in ("rigl", "set", "static", "snip", "magnitude", "str"):
        moves = known(method.start) * epochs <= epoch < known(method.end) * epochs if method.name == "rigl" else False
        return f + (1 - f) / (3 * known(method.interval_steps)) if moves else f
    if method.name == "sparse_vd":
        return 2.0
    if method.name == "top_kast":
        return (2 * f + max(f, 1 - known(method.backward_sparsity))) / 3
    is_sparse = timeline_of(config).phase(epoch).kind == "sparse" and method.name == "dsd"
    return f if is_sparse else (1 + 2 * (f if method.name == "iht" else 1.0)) / 3


def _sparsity(sizes: dict[str, LayerSize], left: dict[str, int], names: list[str]) -> float:
    weights = sum(sizes[name].weights for name in names)
    return 1 - sum(left[name] for name in names) / weights if weights else 0.0


def _weights_left(config: Config, model: nn.Module) -> tuple[dict[str, int], list[str]]:
    """Weights that each layer has left in a sparse phase, and the names of those that stay dense."""
    all_weights = {name: weight.numel() for name, weight in prunable_weights(model).items()}
    # Read here, where nothing has been made yet, so that its faults leave no folder behind.
    start = start_state(model, config) if config.start_from is not None else {}
    if config.method.name == "dense":
        return all_weights, list(all_weights)
    if config.method.name in FROM_DENSE and start:
        require_dense_start(config, start, all_weights)
    if config.masks == "from_weights":
        left = {name: int(start[name].count_nonzero()) for name in all_weights}
        if left == all_weights:
            raise BadInput(
                f"masks=from_weights: no linear or convolution weight of start_from={config.start_from} is zero; "
                "start from a sparse model, or drop masks"
            )
        return left, [name for name, count in left.items() if count == all_weights[name]]
    allocation, layers = allocation_of(config), prunable_layers(model, embeddings=True)
    try:
        left, dense = closed_form_nonzeros(layers, allocation), excluded(shares_of(layers, allocation))
    except AllocationError as error:
        sparsity = config.sparsity
        key = "sparsity.rules" if sparsity.rules else f"sparsity.target={sparsity.target}"
        key = f"sparsity.block={sparsity.block}" if sparsity.block else key
        raise BadInput(f"{key} model={config.model.name}: {error}") from None
    if config.method.name != "acdc":  # which names such a layer when its sparse phase begins, and goes on
        try:
            require_something_left(layers, allocation)
        except AllocationError as error:
            key = f"sparsity.target={config.sparsity.target} method={config.method.name}"
            raise BadInput(f"{key} model={config.model.name}: {error}") from None
    return left, dense
