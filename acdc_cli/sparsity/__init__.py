"""When, how much, where, by which method. Imports torch and nothing else of the project; usable alone."""

from acdc_cli.sparsity.allocate import Allocation, shares_of
from acdc_cli.sparsity.coverage import UncoveredWeights, uncovered_weights
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.method import Method, model_state
from acdc_cli.sparsity.methods import ACDC, Dense, Static
from acdc_cli.sparsity.prunable import Layer, prunable_layers, prunable_weights
from acdc_cli.sparsity.rules import Share, excluded
from acdc_cli.sparsity.select import magnitude_masks
from acdc_cli.sparsity.target import AllocationError, Pattern, parse_target
from acdc_cli.sparsity.timeline import Phase, Timeline
from acdc_cli.sparsity.work import Work

__all__ = [
    "ACDC",
    "Allocation",
    "AllocationError",
    "Dense",
    "Layer",
    "MaskSet",
    "Method",
    "Pattern",
    "Phase",
    "Share",
    "Static",
    "Timeline",
    "UncoveredWeights",
    "Work",
    "excluded",
    "magnitude_masks",
    "model_state",
    "parse_target",
    "prunable_layers",
    "prunable_weights",
    "shares_of",
    "uncovered_weights",
]
