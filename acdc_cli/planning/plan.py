"""What a run would be, without data and without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from acdc_cli.config.compose import dense_share
from acdc_cli.config.schedule import timeline_of
from acdc_cli.config.schema import Config, is_pruned_to_target, prunes_a_dense_run
from acdc_cli.config.sparsity import allocation_of
from acdc_cli.config.stored import read_config
from acdc_cli.errors import BadInput
from acdc_cli.measure.flops import inference_flops
from acdc_cli.measure.ledger import expected_step_cost
from acdc_cli.measure.network import network_flops
from acdc_cli.models.build import build_skeleton
from acdc_cli.planning.method_setting import method_setting, no_passes
from acdc_cli.planning.precision import planned_dtype
from acdc_cli.planning.start import require_dense_start, start_state
from acdc_cli.planning.start_file import goes_on_from_a_run
from acdc_cli.records.folder import RunFolder
from acdc_cli.sparsity.allocate import closed_form_nonzeros, require_something_left, shares_of
from acdc_cli.sparsity.coverage import prunable_by_kind, uncovered_share, uncovered_weights
from acdc_cli.sparsity.prunable import prunable_layers, prunable_weights
from acdc_cli.sparsity.rules import Share, excluded
from acdc_cli.sparsity.target import AllocationError


def plan(config: Config) -> dict[str, Any]:
    """Timeline, prunable weights, dense FLOPs and the closed-form training fraction of a complete config.

    The closed form assumes that every pruned layer has the target sparsity (so it is exact for uniform and N:M; a
    global ranking's own fraction depends on the trained weights) and that no weight stays zero in dense phases.

    Raises:
        BadInput: if the model cannot take the sparsity.
    """
    task = config.task.options
    inputs = task.inputs(config, None)
    model = build_skeleton(config.model, inputs)
    task.check_model(config, inputs, model)
    sizes = [task.example_size(config, inputs, epoch) for epoch in range(config.epochs)]
    size = task.example_size(config, inputs, None)
    flops_at = {each: network_flops(config, inputs, each) for each in {size, *sizes}}
    forward, timeline = flops_at[size], timeline_of(config)
    phases = [[phase.kind, phase.start_epoch, phase.end_epoch] for phase in timeline.phases]
    if config.first_epoch is not None:
        phases = [["dense", config.first_epoch, config.epochs]]
    is_pruned = is_pruned_to_target(config)
    left, stay_dense, shares = _weights_left(config, model)
    dense_flops = {each: inference_flops(flops.sizes) for each, flops in flops_at.items()}
    sparse_flops = {each: inference_flops(flops.sizes, left) for each, flops in flops_at.items()}
    weights = {name: weight.numel() for name, weight in prunable_weights(model).items()}
    pruned = [name for name in weights if name not in stay_dense]
    fraction = _train_fraction(config, sizes, dense_flops, sparse_flops)
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
        "dense_inference_flops": dense_flops[size],
        "attention_flops": forward.attention,
        "uncovered_flops": forward.uncovered,
        "train_flops_per_sample": 3 * fraction * sum(dense_flops[each] for each in sizes),
        "closed_form_assumes": "every pruned layer at the target, no weight zero in dense phases",
        "inference_flops_fraction": sparse_flops[size] / dense_flops[size],
        "train_flops_fraction": fraction,
    }


def _train_fraction(config: Config, sizes: list[Any], dense: dict[Any, int], sparse: dict[Any, int]) -> float:
    """Return training FLOPs over those of a dense run of the same epochs on the same samples.

    Fine-tuning counts what it goes on from (AC/DC, appendix B.2).

    Args:
        config: complete.
        sizes: of the samples of every epoch.
        dense: size -> FLOPs of the dense network's forward pass.
        sparse: size -> FLOPs of the sparse network's forward pass.
    """
    whole = sum(dense[size] for size in sizes)
    if config.finetune is not None:
        before = plan(read_config(RunFolder(Path(str(config.start_from)))))
        tail = sum(dense[size] for size in sizes[config.first_epoch or 0 :])
        return before["train_flops_fraction"] + tail / whole
    first = dense_share(config) if goes_on_from_a_run(config) or config.start_from is None else 0.0
    setting = method_setting(config, config.batch_size, no_passes)
    expected = (
        config.method.options.expected(setting, epoch, sparse[size] / dense[size]) for epoch, size in enumerate(sizes)
    )
    costs = (expected_step_cost(each, dense[size]) for each, size in zip(expected, sizes, strict=True))
    return first + sum(costs) / (3 * whole)


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
    if not config.method.facts.makes_sparse_model:
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
    if not config.method.facts.may_empty_layers:
        try:
            require_something_left(layers, allocation)
        except AllocationError as error:
            key = f"sparsity.target={config.sparsity.target} method={config.method.name}"
            raise BadInput(f"{key} model={config.model.name}: {error}") from None
    return left, excluded(shares), shares
