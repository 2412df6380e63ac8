"""What a run would be, without data and without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from acdc_cli.config.compose import allocation_of
from acdc_cli.config.dense_run import dense_share
from acdc_cli.config.resolution import keys_of_size, view_of
from acdc_cli.config.schedule import epoch_window, gradual_epochs, timeline_of
from acdc_cli.config.schema import Config, is_pruned_to_target, known, prunes_a_dense_run
from acdc_cli.data.sources import SOURCES
from acdc_cli.errors import BadInput
from acdc_cli.measure.flops import closed_form_train_fraction, inference_flops
from acdc_cli.measure.network import network_flops
from acdc_cli.models import build_skeleton
from acdc_cli.models.fit import require_fit
from acdc_cli.records.configs import read_config
from acdc_cli.records.folder import RunFolder
from acdc_cli.sparsity.allocate import closed_form_nonzeros, require_something_left, shares_of
from acdc_cli.sparsity.coverage import prunable_by_kind, uncovered_share, uncovered_weights
from acdc_cli.sparsity.prunable import prunable_layers, prunable_weights
from acdc_cli.sparsity.rules import Share, excluded
from acdc_cli.sparsity.target import AllocationError
from acdc_cli.sparsity.window import gradual_sparsity
from acdc_cli.training.precision import planned_dtype
from acdc_cli.training.start import require_dense_start, start_state
from acdc_cli.training.start_file import goes_on_from_a_run


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
    for pixels, shape in shape_at.items():
        require_fit(config.model.name, model, shape, images.classes, keys_of_size(config, pixels))
    flops_at = {
        pixels: network_flops(config.model, images.sample_shape[0], images.classes, pixels) for pixels in shape_at
    }
    forward, timeline = flops_at[resolution], timeline_of(config)
    phases = [[phase.kind, phase.start_epoch, phase.end_epoch] for phase in timeline.phases]
    if config.first_epoch is not None:
        phases = [["dense", config.first_epoch, config.epochs]]
    is_pruned = is_pruned_to_target(config)
    left, stay_dense, shares = _weights_left(config, model)
    dense_flops = {pixels: inference_flops(flops.sizes) for pixels, flops in flops_at.items()}
    sparse_flops = {pixels: inference_flops(flops.sizes, left) for pixels, flops in flops_at.items()}
    weights = {name: weight.numel() for name, weight in prunable_weights(model).items()}
    pruned = [name for name in weights if name not in stay_dense]
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
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "prunable_weights": sum(weights.values()),
        "prunable_by_kind": prunable_by_kind(prunable_layers(model, embeddings=True), shares),
        "uncovered": {"names": list(uncovered_weights(model)), "share": uncovered_share(model)},
        "nonzero_weights": sum(left[name] for name in weights),
        "sparsity": _sparsity(weights, left, list(weights)),
        "sparsity_of_pruned_layers": _sparsity(weights, left, pruned),
        "stay_dense": stay_dense,
        "dense_inference_flops": dense_flops[resolution],
        "attention_flops": forward.attention,
        "uncovered_flops": forward.uncovered,
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
        before = plan(read_config(RunFolder(Path(str(config.start_from)))))
        tail = sum(dense[pixels] for pixels in resolutions[known(config.first_epoch) :])
        return before["train_flops_fraction"] + tail / whole
    if config.method.name not in ("acdc", "dense"):
        first = dense_share(config) if goes_on_from_a_run(config) or config.start_from is None else 0.0
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
        start, end = gradual_epochs(config)
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


def _sparsity(weights: dict[str, int], left: dict[str, int], names: list[str]) -> float:
    count = sum(weights[name] for name in names)
    return 1 - sum(left[name] for name in names) / count if count else 0.0


def _weights_left(config: Config, model: nn.Module) -> tuple[dict[str, int], list[str], list[Share]]:
    """Weights that each layer and each embedding table has left in a sparse phase, the names of layers that stay dense,
    and the shares.
    """
    with_tables = {name: weight.numel() for name, weight in prunable_weights(model, embeddings=True).items()}
    all_weights = {name: weight.numel() for name, weight in prunable_weights(model).items()}
    # Read here, where nothing has been made yet, so that its faults leave no folder behind.
    start = start_state(model, config) if config.start_from is not None else {}
    if config.method.name == "dense":
        return with_tables, list(all_weights), []
    if prunes_a_dense_run(config) and start:
        require_dense_start(config, start, all_weights)
    if config.masks == "from_weights":
        left = {name: int(start[name].count_nonzero()) for name in all_weights}
        if left == all_weights:
            raise BadInput(
                f"masks=from_weights: no prunable weight of start_from={config.start_from} is zero; "
                "start from a sparse model, or drop masks"
            )
        tables = {name: int(start[name].count_nonzero()) for name in with_tables if name not in all_weights}
        sparse_tables = tuple(name for name, count in tables.items() if count < with_tables[name])
        shares = [Share(sparse_tables, 0.0)] if sparse_tables else []
        return left | tables, [name for name, count in left.items() if count == all_weights[name]], shares
    allocation, layers = allocation_of(config), prunable_layers(model, embeddings=True)
    try:
        left, shares = closed_form_nonzeros(layers, allocation), shares_of(layers, allocation)
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
    return left, excluded(shares), shares
