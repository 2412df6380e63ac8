"""Sparse training methods: when a run is sparse, how many weights it removes, which ones, and by which method.

This package imports PyTorch and nothing else of the project, so it can be used in any training loop.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acdc_cli.sparsity.allocate import Allocation, shares_of
    from acdc_cli.sparsity.coverage import UncoveredWeights, uncovered_weights
    from acdc_cli.sparsity.layer import Layer
    from acdc_cli.sparsity.masks import MaskSet
    from acdc_cli.sparsity.method import Method, model_state
    from acdc_cli.sparsity.methods import ACDC, Dense, Static
    from acdc_cli.sparsity.prunable import prunable_layers, prunable_weights
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

# Each name is mapped to the module that has it.
_HOME = {
    **dict.fromkeys(("Allocation", "shares_of"), "allocate"),
    **dict.fromkeys(("UncoveredWeights", "uncovered_weights"), "coverage"),
    **dict.fromkeys(("Layer",), "layer"),
    **dict.fromkeys(("MaskSet",), "masks"),
    **dict.fromkeys(("Method", "model_state"), "method"),
    **dict.fromkeys(("ACDC", "Dense", "Static"), "methods"),
    **dict.fromkeys(("prunable_layers", "prunable_weights"), "prunable"),
    **dict.fromkeys(("Share", "excluded"), "rules"),
    **dict.fromkeys(("magnitude_masks",), "select"),
    **dict.fromkeys(("AllocationError", "Pattern", "parse_target"), "target"),
    **dict.fromkeys(("Phase", "Timeline"), "timeline"),
    **dict.fromkeys(("Work",), "work"),
}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562): a schedule or a target can be read without the seconds that torch takes."""
    if name not in _HOME:
        raise AttributeError(f"module 'acdc_cli.sparsity' has no attribute {name!r}")
    return getattr(import_module(f"acdc_cli.sparsity.{_HOME[name]}"), name)
