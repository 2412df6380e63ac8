"""acdc-search: the value of a key at which a method that cannot be told its sparsity reaches it, found run by run."""

from __future__ import annotations

import argparse
import shlex

from acdc_cli.commands.console import Parser, run_command
from acdc_cli.errors import EXIT_DONE, BadInput
from acdc_cli.launch.search import Try, search, try_value
from acdc_cli.parts import METHODS


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
        done = try_value(shlex.split(options.launcher), [*options.overrides, f"{options.key}={value:g}"], value)
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


if __name__ == "__main__":
    main()
