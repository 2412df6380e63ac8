"""acdc-search: the value of a key at which a method that cannot be told its sparsity reaches it, found run by run."""

from __future__ import annotations

import argparse
import math
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from acdc_cli.commands.console import Parser, run_command
from acdc_cli.errors import EXIT_DONE, AcdcError, BadInput
from acdc_cli.parts import METHODS
from acdc_cli.records.headline import headline_of

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


def _parser() -> Parser:
    parser = Parser(
        prog="acdc-search",
        description="Run acdc-train with values of a key until the sparsity that is asked for is reached. A run that "
        "is done already is found again, so a search that was stopped goes on with the same command.",
        epilog="example: acdc-search --key method.s_weight_decay --low 0.001 --high 0.1 --log method=str sparsity=0.9",
    )
    parser.add_argument("--key", required=True, help="whose value decides the sparsity")
    parser.add_argument("--low", required=True, type=float, help="one end of its interval")
    parser.add_argument("--high", required=True, type=float, help="the other end; the sparsity may rise or fall to it")
    parser.add_argument("--log", action="store_true", help="the interval spans orders of magnitude")
    parser.add_argument("--tolerance", type=float, default=0.005, help="what is near enough (default: %(default)s)")
    parser.add_argument("--tries", type=int, default=12, help="give up after so many runs (default: %(default)s)")
    parser.add_argument("--launcher", default="", help='such as "torchrun --nproc-per-node=4"')
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of acdc-train, the sparsity among them")
    return parser


def main() -> None:
    """The console script."""
    run_command("acdc-search", _parser(), _run)


def _run(options: argparse.Namespace) -> int:
    if options.log and min(options.low, options.high) <= 0:
        raise BadInput(f"--low={options.low:g} --high={options.high:g} --log: both must be above 0; or leave out --log")
    if options.low >= options.high:
        raise BadInput(f"--low={options.low:g}: not below --high={options.high:g}; exchange them")
    if any(override.startswith(f"{options.key}=") for override in options.overrides):
        raise BadInput(f"{options.key}: is what is searched for; leave it out of the overrides")
    for name, least in (("tolerance", 0), ("tries", 1)):
        if not getattr(options, name) >= least:
            raise BadInput(f"--{name}={getattr(options, name):g}: below {least}; nearest: --{name}={least}")
    _check_key(options)

    def run(value: float) -> Try:
        done = _train(shlex.split(options.launcher), [*options.overrides, f"{options.key}={value:g}"], value)
        print(f"{options.key}={value:<10g} sparsity {done.sparsity:.4f}  {done.metric}  {done.folder}", flush=True)
        return done

    ends = {"low": options.low, "high": options.high, "is_log": options.log}
    found = search(run, **ends, tolerance=options.tolerance, most=options.tries)
    command = shlex.join(["acdc-train", *options.overrides, f"{options.key}={found.value:g}"])
    print(f"{found.sparsity:.4f} for {found.target}: {command}")
    return EXIT_DONE


def _check_key(options: argparse.Namespace) -> None:
    """Raise BadInput, before the first run, for an end or a key that could not lead to a sparsity."""
    from acdc_cli.config.compose import compose_config
    from acdc_cli.config.identity import identity

    at_low, at_high = (
        compose_config([*options.overrides, f"{options.key}={end:g}"]) for end in (options.low, options.high)
    )
    method, decided_by = at_low.method.name, at_low.method.facts.decided_by
    if decided_by is None:
        deciding = [name for name in METHODS.names() if METHODS.part(name).facts.decided_by is not None]
        raise BadInput(
            f"method={method}: ends at the sparsity that is asked for; a search is for "
            f"{', '.join(f'method={name}' for name in deciding)}"
        )
    if identity(at_low) == identity(at_high) or at_low.sparsity.target != at_high.sparsity.target:
        raise BadInput(
            f"--key {options.key}: does not decide what method={method} reaches; nearest: --key method.{decided_by}"
        )


def _program() -> Path:
    """acdc-train, installed beside acdc-search or, as this runs by ``python -m``, beside Python."""
    beside = Path(sys.argv[0]).with_name("acdc-train")
    return beside if beside.is_file() else Path(sys.executable).with_name("acdc-train")


def _train(launcher: list[str], arguments: list[str], value: float) -> Try:
    """One run as the console script, whose lines for the eye go to stderr. Its exit code, if not 0, becomes ours."""
    from acdc_cli.records.folder import RunFolder

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
    metric = f"{headline.name} {headline.text(result['sparse'][headline.val_key])}"
    return Try(value, result["sparsity_of_pruned_layers"], result["sparsity_target"], metric, folder)


if __name__ == "__main__":
    main()
