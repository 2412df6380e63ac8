"""The flags of acdc-train, which are those of any program that uses Hydra."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from acdc_cli.errors import BadInput

SWITCHES = ("--help -h", "--hydra-help", "--resolve", "--run -r", "--multirun -m", "--shell-completion -sc")
VALUES = ("--package -p", "--config-path -cp", "--config-name -cn", "--config-dir -cd", "--experimental-rerun")
INFOS = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
EXCLUSIVE = ("run", "multirun", "cfg", "info", "shell_completion")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise BadInput(f"{message}; acdc-train --help lists the flags")


def flags_of(arguments: Sequence[str]) -> argparse.Namespace:
    """Read a command line: ``overrides``, and an attribute for each flag.

    Raises:
        BadInput: for a flag that there is not, or flags that do not go together.
    """
    parser = _Parser(prog="acdc-train", add_help=False)
    parser.add_argument("overrides", nargs="*")
    for names in SWITCHES:
        parser.add_argument(*names.split(), action="store_true")
    for names in VALUES:
        parser.add_argument(*names.split())
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=INFOS)
    flags, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        raise BadInput(f"{unknown[0]}: there is no such flag; acdc-train --help lists them")
    if flags.resolve and not flags.cfg and flags.info is None:
        raise BadInput("--resolve: goes with --cfg job, which prints the config")
    if len(given := [name for name in EXCLUSIVE if getattr(flags, name) not in (None, False)]) > 1:
        both = " ".join(f"--{name.replace('_', '-')}" for name in given)
        raise BadInput(f"{both}: one of them at a time; drop --{given[0].replace('_', '-')}")
    return flags


def as_arguments(flags: argparse.Namespace) -> list[str]:
    """Return the command line again, all flags before the overrides, which Hydra wants in one piece."""
    words = list[str]()
    for name, value in vars(flags).items():
        if name != "overrides" and value not in (None, False):
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [value])]
    return [*words, *flags.overrides]
