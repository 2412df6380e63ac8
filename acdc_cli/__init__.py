"""acdc_cli: train neural networks that end up both dense and sparse."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acdc_cli.models.load import load_model
    from acdc_cli.options import number, one_of
    from acdc_cli.parts import register_dataset, register_method, register_model, register_task
    from acdc_cli.sparsity import ACDC, Timeline

__all__ = [
    "ACDC",
    "Timeline",
    "__version__",
    "load_model",
    "number",
    "one_of",
    "register_dataset",
    "register_method",
    "register_model",
    "register_task",
]
__version__ = "0.1.0"

_HOME = {
    "ACDC": "acdc_cli.sparsity",
    "Timeline": "acdc_cli.sparsity",
    "load_model": "acdc_cli.models.load",
    **dict.fromkeys(("number", "one_of"), "acdc_cli.options"),
    **dict.fromkeys(("register_dataset", "register_method", "register_model", "register_task"), "acdc_cli.parts"),
}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562), so that `acdc-train --help` and tab completion never import torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'acdc_cli' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
