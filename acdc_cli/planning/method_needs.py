"""What a method needs of the machine and of the data, asked before anything is built."""

from __future__ import annotations

from dataclasses import replace

from acdc_cli.config.schema import Config, MethodConfig
from acdc_cli.config.sparsity import allocation_of
from acdc_cli.methods import Needs
from acdc_cli.ranks import Ranks


def settled_method(config: Config, ranks: Ranks) -> MethodConfig:
    """Return the method with the keys filled in that null leaves to the machine."""
    if not hasattr(config.method.options, "settled"):
        return config.method
    return replace(config.method, options=config.method.options.settled(_needs(config, ranks)))


def check_samples(config: Config, samples: int) -> None:
    """Raise BadInput if the method needs more training samples than there are."""
    if hasattr(config.method.options, "check_samples"):
        config.method.options.check_samples(replace(_needs(config, Ranks()), samples=samples))


def check_memory(config: Config, ranks: Ranks) -> None:
    """Raise BadInput if the method needs more memory than is free now."""
    if hasattr(config.method.options, "check_memory"):
        config.method.options.check_memory(_needs(config, ranks))


def _needs(config: Config, ranks: Ranks) -> Needs:
    import torch  # a method without needs does not wait for it

    from acdc_cli.sparsity import fisher_memory

    def device() -> tuple[torch.device, int]:
        """Return where a rank computes, and how many ranks share its memory."""
        is_cuda = config.device != "cpu" and torch.cuda.is_available()
        return (torch.device("cuda", ranks.local_rank), 1) if is_cuda else (torch.device("cpu"), ranks.local_count)

    def total() -> int:
        own, sharing = device()
        return fisher_memory.total_bytes(own) // sharing

    def free() -> int:
        own, sharing = device()
        return fisher_memory.available_bytes(own) // sharing

    return Needs(
        dataset=config.dataset.name,
        samples=None,
        counts=lambda: _counts(config),
        element_bytes=8 if config.precision.dtype == "fp64" else 4,
        total_memory_bytes=total,
        free_memory_bytes=free,
        ranks_sharing=device()[1],
    )


def _counts(config: Config) -> list[int]:
    """Return the number of weights of each layer that is pruned."""
    from acdc_cli.models.build import build_skeleton
    from acdc_cli.sparsity.allocate import shares_of
    from acdc_cli.sparsity.prunable import prunable_layers

    inputs = config.task.options.inputs(config, None)
    layers = prunable_layers(build_skeleton(config.model, inputs), embeddings=True)
    shares = shares_of(layers, allocation_of(config))
    return [layers[name].shape.numel() for share in shares if share.target is not None for name in share.names]
