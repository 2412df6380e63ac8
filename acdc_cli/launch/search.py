"""Finding the value of a key at which a run ends with the sparsity that is wanted, run by run."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from acdc_cli.errors import AcdcError, BadInput
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.headline import headline_of
from acdc_cli.records.run_result import final_model, model_metric

DIGITS = 4  # of a tried value: short enough to type, and the same run when the search is repeated
LEAST_SHARE = 0.2  # of the interval on either side: where interpolation misjudges the curve, halving is not far away
EMPTY = 1e-3  # density, and sparsity, below which a logit says no more
REPORT = "report: "  # acdc-train's last line


@dataclass(frozen=True)
class Try:
    """A finished run: the key's value, the sparsity that it reached, and the one that it was asked for."""

    value: float
    sparsity: float
    target: float
    metric: str
    folder: Path

    @property
    def miss(self) -> float:
        """How far from the target."""
        return abs(self.sparsity - self.target)


def next_value(tried: dict[float, float], target: float, low: float, high: float, is_log: bool) -> float | None:
    """Where to try next: both ends, then between the two neighbours that have the target between them.

    Between them the logit of the sparsity is taken for a straight line over the value, or over its logarithm. Training
    is noisy, so several neighbours may qualify: those whose sparsities are closest to the target are taken.

    Args:
        tried: value -> the sparsity that it reached.
        target: the sparsity that is wanted.
        low, high: the interval's ends, both above 0 if ``is_log``.

    Returns:
        None if no value of ``DIGITS`` digits is left between the neighbours.

    Raises:
        BadInput: if no two neighbours have the target between them.
    """
    for end in (low, high):
        if end not in tried:
            return end
    pairs = zip(sorted(tried), sorted(tried)[1:], strict=False)
    around = [pair for pair in pairs if (tried[pair[0]] - target) * (tried[pair[1]] - target) <= 0]
    if not around:
        raise BadInput(
            f"--low={low:g} --high={high:g}: {tried[low]:.4f} and {tried[high]:.4f} are reached there, and the target "
            f"{target} is not between them; move the end that is nearer to it"
        )
    left, right = min(around, key=lambda pair: sum(abs(tried[value] - target) for value in pair))
    at_left, at_right = _logit(tried[left]), _logit(tried[right])
    share = 0.5 if at_left == at_right else (_logit(target) - at_left) / (at_right - at_left)
    share = min(max(share, LEAST_SHARE), 1 - LEAST_SHARE)
    value = left ** (1 - share) * right**share if is_log else left * (1 - share) + right * share
    value = float(f"{value:.{DIGITS}g}")
    return None if value in tried else value


def _logit(sparsity: float) -> float:
    inside = min(max(sparsity, EMPTY), 1 - EMPTY)
    return math.log(inside / (1 - inside))


def search(run: Callable[[float], Try], low: float, high: float, *, is_log: bool, tolerance: float, most: int) -> Try:
    """Try values until one run's sparsity is within ``tolerance`` of its target. Returns that one.

    Raises:
        BadInput: if the target is not between what the ends reach.
        AcdcError: if ``most`` tries have not been enough, or the sparsity jumps over the target.
    """
    tries = [run(low)]
    while (best := min(tries, key=lambda each: each.miss)).miss > tolerance:
        value = next_value({each.value: each.sparsity for each in tries}, best.target, low, high, is_log)
        if value is None or len(tries) >= most:
            why = "the sparsity jumps over the target" if value is None else f"not reached in {most} tries"
            raise AcdcError(
                f"{why}; nearest: {best.value:g}, with {best.sparsity:.4f}; choose another --key or interval"
            )
        tries.append(run(value))
    return best


def _program() -> Path:
    """acdc-train, installed beside acdc-search or, as this runs by ``python -m``, beside Python."""
    beside = Path(sys.argv[0]).with_name("acdc-train")
    return beside if beside.is_file() else Path(sys.executable).with_name("acdc-train")


def try_value(launcher: list[str], arguments: list[str], value: float) -> Try:
    """One run as the console script, whose lines for the eye go to stderr. Its exit code, if not 0, becomes ours."""
    command = [*launcher, str(_program()), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    folder = Path(done.stdout.rsplit(REPORT, 1)[1].strip()).parent
    result = RunFolder.open(folder).read_result()
    if not isinstance(result["sparsity_target"], float):
        raise BadInput(
            f"sparsity.target={result['sparsity_target']}: not a fraction that a search could come nearer to"
        )
    headline = headline_of(result)
    metric = f"{headline.label} {headline.text(model_metric(final_model(result), headline.val_key))}"
    return Try(value, result["sparsity_of_pruned_layers"], result["sparsity_target"], metric, folder)
