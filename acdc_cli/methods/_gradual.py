"""What the gradual methods have in common: a sparsity that rises to the target."""

from __future__ import annotations

from acdc_cli.config.schema import Config
from acdc_cli.errors import BadInput


def check_initial(initial_sparsity: float, config: Config) -> None:
    """Raise BadInput if a gradual schedule would begin above a target that it leads to."""
    least = min(float(target) for target in config.sparsity.targets() if target)
    if initial_sparsity > least:
        raise BadInput(
            f"method.initial_sparsity={initial_sparsity}: above the final sparsity {least}, and what is pruned "
            f"never comes back; nearest: method.initial_sparsity={least}"
        )


def phases_until(first_sparse: int, epochs: int) -> list[tuple[str, int, int]]:
    """Return dense phases up to an epoch, from which on the run is as sparse as it is to be."""
    return [("dense", 0, first_sparse)] * (first_sparse > 0) + [("sparse", first_sparse, epochs)]
