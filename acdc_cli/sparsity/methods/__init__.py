"""One short file per method: what differs about it, and nothing else."""

from acdc_cli.sparsity.methods.acdc import ACDC
from acdc_cli.sparsity.methods.dense import Dense

__all__ = ["ACDC", "Dense"]
