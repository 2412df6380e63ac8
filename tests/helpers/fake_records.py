"""Records of a run as far as every reader needs them, for tests that make folders without training."""

from __future__ import annotations

from typing import Any

RESULT: dict[str, Any] = {
    **{"method": "acdc", "model": "resnet8", "dataset": "digits", "device": "cpu", "seed": 0, "epochs": 2},
    **{"sparsity_target": 0.9, "sparsity": 0.9, "sparsity_of_pruned_layers": 0.9, "prunable_weights": 10},
    **{"sparse": {"val_top1": 0.5, "inference_flops_fraction": 0.1}, "dense": None, "agreement": None},
    **{"dense_inference_flops": 1, "train_flops_total": 1, "train_flops_fraction": 0.5, "seconds": 1.0},
    **{"peak_memory_bytes": 1, "layer_sparsity": {}, "versions": {}},
}
ROW: dict[str, Any] = {
    **{
        "epoch": 0,
        "phase": "sparse",
        "train_loss": 1.0,
        "train_top1": 0.5,
        "val_loss": 1.0,
        "val_top1": 0.5,
        "lr": 0.1,
    },
    **{"sparsity": 0.9, "mask_change": None, "inference_flops": 1, "train_flops": 1, "train_flops_total": 1},
    **{"samples_per_second": 1.0, "seconds": 1.0, "peak_memory_bytes": 1, "layer_sparsity": {}},
}
