"""Whether the keys of ``model`` go together, before anything is built."""

from __future__ import annotations

from typing import Any

from acdc_cli.config.schema import LIBRARIES, READ_BY_FAMILY, ModelConfig
from acdc_cli.errors import BadInput

# Depth of the families that have one: the smallest is 6 and this many, each further block of every stage adds 6.
DEPTH_BEYOND_BLOCKS = {"cifar_resnet": 2, "wide_resnet": 4}
EXAMPLES: dict[str, dict[str, Any]] = {
    "cifar_resnet": {"depth": 20, "width": 16, "shortcut": "identity"},
    "wide_resnet": {"depth": 28, "width": 10, "dropout": 0.3},
}
KEYS = ("depth", "width", "shortcut", "dropout")


def check_model(model: ModelConfig, overrides: list[str]) -> None:
    """Raise BadInput for a key that the family needs and lacks, or does not read, or a depth that it cannot have.

    Args:
        overrides: what was typed. A name that is typed chooses a model of a library: it must not merely rename another.
    """
    read = READ_BY_FAMILY[model.family]
    for key in KEYS:
        value = getattr(model, key)
        if value is None and key in read:
            example = EXAMPLES[model.family][key]
            raise BadInput(f"model.{key}=null: model.family={model.family} needs it, such as model.{key}={example}")
        if value is not None and key not in read:
            raise BadInput(f"model.{key}={value}: model.family={model.family} does not read it; use model.{key}=null")
    if model.depth is not None:
        _check_depth(model.depth, DEPTH_BEYOND_BLOCKS[model.family])
    if model.family not in LIBRARIES and any(typed.lstrip("+").startswith("model.name=") for typed in overrides):
        raise BadInput(
            f"model.name={model.name}: model.family={model.family} takes no name; add model=timm or model=torchvision "
            "to choose one of theirs, or use run.name to name the run"
        )


def _check_depth(depth: int, beyond: int) -> None:
    if depth < 6 + beyond or (depth - beyond) % 6:
        fitting = max(6 + beyond, 6 * round((depth - beyond) / 6) + beyond)
        raise BadInput(f"model.depth={depth}: not 6n + {beyond}; nearest: model.depth={fitting}")
