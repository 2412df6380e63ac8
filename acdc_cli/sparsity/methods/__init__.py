"""One short file per method: what differs about it, and nothing else."""

from acdc_cli.sparsity.methods.acdc import ACDC
from acdc_cli.sparsity.methods.dense import Dense
from acdc_cli.sparsity.methods.static import Static

__all__ = ["ACDC", "Dense", "Static"]
