"""Whether each value of a config is one of its choices and inside its range; the schema says which these are."""

from __future__ import annotations

import math
from typing import Any

from acdc_cli.config.schema import Config, schema_keys
from acdc_cli.errors import BadInput, not_a_choice


def check_ranges(config: Config) -> None:
    """Raise BadInput for the first value outside its choices or range."""
    for key, entry in schema_keys().items():
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if value is None:
            continue
        if "choices" in entry.metadata and value not in entry.metadata["choices"]:
            raise not_a_choice(key, value, entry.metadata["choices"])
        if "range" in entry.metadata:
            _check_range(key, value, *entry.metadata["range"])


def _check_range(key: str, value: float, low: float, high: float, above: bool, below: bool) -> None:
    inside = (value > low if above else value >= low) and (value < high if below else value <= high)
    if not math.isfinite(value):
        raise BadInput(f"{key}={value}: must be a finite number{f' above {low}' if above else ''}")
    if not inside:
        left, right = "(" if above else "[", ")" if below or high == math.inf else "]"
        end, open_end = (high, below) if value >= high else (low, above)
        hint = f"use a number {'below' if end == high else 'above'} {end}" if open_end else f"nearest: {key}={end}"
        raise BadInput(f"{key}={value}: outside {left}{low}, {high}{right}; {hint}")
