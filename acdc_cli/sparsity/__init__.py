"""When, how much, where, by which method. Imports torch and nothing else of the project; usable alone."""

from acdc_cli.sparsity.allocate import Allocation, Pattern, excluded_layers, magnitude_masks, parse_target
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.method import Method, Work
from acdc_cli.sparsity.methods import ACDC, Dense
from acdc_cli.sparsity.prunable import prunable_weights
from acdc_cli.sparsity.timeline import Phase, Timeline

__all__ = [
    "ACDC",
    "Allocation",
    "Dense",
    "MaskSet",
    "Method",
    "Pattern",
    "Phase",
    "Timeline",
    "Work",
    "excluded_layers",
    "magnitude_masks",
    "parse_target",
    "prunable_weights",
]
