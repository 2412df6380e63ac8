"""One short file per method: what differs about it, and nothing else."""

from acdc_cli.sparsity.methods.acdc import ACDC
from acdc_cli.sparsity.methods.dense import Dense
from acdc_cli.sparsity.methods.dsd import DSD
from acdc_cli.sparsity.methods.fixed import magnitude, random_static
from acdc_cli.sparsity.methods.gmp import gmp
from acdc_cli.sparsity.methods.iht import iht
from acdc_cli.sparsity.methods.rigl import rigl, set_
from acdc_cli.sparsity.methods.snip import snip
from acdc_cli.sparsity.methods.soft_threshold import SoftThreshold
from acdc_cli.sparsity.methods.static import Static
from acdc_cli.sparsity.methods.top_kast import TopKAST
from acdc_cli.sparsity.methods.variational import SparseVD
from acdc_cli.sparsity.methods.woodfisher import woodfisher

__all__ = [
    "ACDC",
    "DSD",
    "Dense",
    "SoftThreshold",
    "SparseVD",
    "Static",
    "TopKAST",
    "gmp",
    "iht",
    "magnitude",
    "random_static",
    "rigl",
    "set_",
    "snip",
    "woodfisher",
]
