"""What a Fisher matrix needs of the machine and of the data: said before anything begins."""

from __future__ import annotations

import torch

from acdc_cli.config.compose import allocation_of
from acdc_cli.config.schema import Config
from acdc_cli.data.dataset import Dataset
from acdc_cli.data.options import image_facts
from acdc_cli.errors import BadInput
from acdc_cli.models import build_skeleton
from acdc_cli.ranks import Ranks
from acdc_cli.sparsity.allocate import shares_of
from acdc_cli.sparsity.fisher import inverse_bytes
from acdc_cli.sparsity.fisher_memory import available_bytes, gibibytes, largest_block, total_bytes
from acdc_cli.sparsity.prunable import prunable_layers


def require_fisher_sample(config: Config, dataset: Dataset) -> None:
    """Raise BadInput if the Fisher matrix is to be taken over more images than there are."""
    method, images = config.method, dataset.count("train")
    if method.fisher_samples is None or method.fisher_batch is None:
        return
    if (asked := method.fisher_samples * method.fisher_batch) > images:
        fitting = images // method.fisher_batch
        nearest = f"method.fisher_samples={fitting}" if fitting else f"method.fisher_batch={images}"
        raise BadInput(
            f"method.fisher_samples={method.fisher_samples} method.fisher_batch={method.fisher_batch}: are {asked} "
            f"images, and dataset={dataset.name} has {images} to train on; nearest: {nearest}"
        )


def fitting_block(config: Config, ranks: Ranks) -> int | None:
    """``method.fisher_block``, or the largest one that fits where it is null; None: the method has none.

    What null becomes depends on all the memory that the machine has and not on what is free now, so that a run is
    found again.
    """
    if config.method.fisher_samples is None or config.method.fisher_block is not None:
        return config.method.fisher_block
    device, sharing = _memory(config, ranks)
    return largest_block(_counts(config), total_bytes(device) // sharing, _element_bytes(config))


def require_fisher_memory(config: Config, ranks: Ranks) -> None:
    """Raise BadInput, with the memory that they need, if the inverses do not fit into what is free now."""
    if (block := fitting_block(config, ranks)) is None:
        return
    device, sharing = _memory(config, ranks)
    counts, element_bytes = _counts(config), _element_bytes(config)
    needed, free = inverse_bytes(counts, block, element_bytes), available_bytes(device) // sharing
    if needed > free:
        raise BadInput(
            f"method.fisher_block={block}: its inverses need {gibibytes(needed)} of memory, and "
            f"{gibibytes(free)} are free{' for each rank' if sharing > 1 else ''}; nearest: "
            f"method.fisher_block={largest_block(counts, free, element_bytes)}"
        )


def _memory(config: Config, ranks: Ranks) -> tuple[torch.device, int]:
    """Where a rank's inverses lie, and how many ranks share that memory."""
    if config.device != "cpu" and torch.cuda.is_available():
        return torch.device("cuda", ranks.local_rank), 1
    return torch.device("cpu"), ranks.local_count


def _counts(config: Config) -> list[int]:
    """Weights of each layer that is pruned."""
    images = image_facts(config)
    layers = prunable_layers(build_skeleton(config.model, images.sample_shape[0], images.classes), embeddings=True)
    shares = shares_of(layers, allocation_of(config))
    return [layers[name].shape.numel() for share in shares if share.target is not None for name in share.names]


def _element_bytes(config: Config) -> int:
    return 8 if config.precision.dtype == "fp64" else 4
