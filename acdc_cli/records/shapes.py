"""What a run's records have to hold for their readers; they may hold more, and what older versions lacked has a "?"."""

from __future__ import annotations

from acdc_cli.records.files import NUMBER, Shape, or_null

STATUS: Shape = {
    "state": frozenset({"running", "done", "failed", "interrupted"}),
    "epoch": int,
    "error?": (str, None),
    "pid?": int,
    "host?": str,
    "updated?": NUMBER,
}
AGREEMENT: Shape = {"top1": NUMBER, "cross_entropy": NUMBER}
SECTION: Shape = {"val_loss?": NUMBER, "inference_flops_fraction": NUMBER}
RESULT: Shape = {
    "run_id": str,
    "method": str,
    "model": str,
    "dataset": str,
    "seed": int,
    "epochs": int,
    "sparsity_target": (*NUMBER, str, None),
    "sparsity": NUMBER,
    "sparsity_of_pruned_layers": NUMBER,
    "prunable_weights": int,
    "sparse": or_null(SECTION),
    "dense": or_null(SECTION),
    "dense_inference_flops": NUMBER,
    "train_samples?": int,
    "train_flops_total": NUMBER,
    "train_flops_fraction": NUMBER,
    "agreement": or_null(AGREEMENT),
    "seconds": NUMBER,
    "seconds_before?": NUMBER,
    "peak_memory_bytes": NUMBER,
    "layer_sparsity": {"*": NUMBER},
    "versions": {"*": (str, None)},
    "task?": str,
    "headline?": {
        "name": str,
        "direction": frozenset({"up", "down"}),
        "label": str,
        "train_name": (str, None),
        "digits": int,
    },
    "checksums?": bool,  # whether there has to be a checksums.json
    "started_from?": (str, None),
    "dataset_hash?": str,
    "device": str,
}
ROW: Shape = {
    "epoch": int,
    "phase": frozenset({"dense", "sparse"}),
    "train_loss": NUMBER,
    "val_loss": NUMBER,
    "lr": NUMBER,
    "sparsity": NUMBER,
    "mask_change": (*NUMBER, None),
    "stayed_zero?": (*NUMBER, None),
    "dead_channels?": (*NUMBER, None),
    "inference_flops": NUMBER,
    "train_flops": NUMBER,
    "train_flops_total": NUMBER,
    "samples_per_second": NUMBER,
    "seconds": NUMBER,
    "peak_memory_bytes": NUMBER,
    "layer_sparsity": {"*": NUMBER},
}
