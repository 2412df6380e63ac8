"""What the user typed, before Hydra sees it: short forms are spelled out and typos are refused by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from acdc_cli.config.schema import PART_GROUPS, all_keys
from acdc_cli.errors import BadInput, nearest, not_a_choice

# A group whose amount may be given in place of an option: sparsity=0.9 is short for sparsity.target=0.9.
AMOUNT_KEY = {"sparsity": "sparsity.target"}
NO_RULES = "sparsity.rules=null"
# A folder of conf/ whose files list runs: no group, a run cannot choose one of them.
TABLES = "table"
# A number given to these groups was meant for this key.
NUMBER_MEANT = {
    "optimizer": "optimizer.lr",
    "lr": "optimizer.lr",
    "lr_schedule": "optimizer.lr",
    "schedule": "epochs",
    "precision": "precision.dtype",
    "model": "model.width",
    "batch": "batch_size",
}


def conf_dir() -> Path:
    """The YAML tree: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent.parent
    for candidate in (here / "conf", here.parent / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise FileNotFoundError("acdc_cli is installed without its conf/ folder; install it again")


def group_options(extra_dir: str | Path | None = None) -> dict[str, list[str]]:
    """Config groups and their options, from the folders of conf/ and of the user's --config-dir."""
    groups: dict[str, list[str]] = {}
    roots = [conf_dir()]
    if extra_dir is not None:
        roots.append(Path(extra_dir))
        if not roots[-1].is_dir():
            raise BadInput(f"--config-dir {extra_dir}: there is no such folder")
    for root in roots:
        for path in sorted(root.glob("*/*.yaml")):
            if path.parent.name != TABLES:
                groups.setdefault(path.parent.name, []).append(path.stem)
    return groups


def is_override(argument: str) -> bool:
    """Whether a command-line word is key=value (or ~key) and not a flag or a flag's value."""
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def key_of(override: str) -> str:
    """``model.name`` of ``+model.name=x``."""
    return override.partition("=")[0].lstrip("+~")


def quoted(text: str) -> str:
    """As a value that Hydra takes literally."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def rewrite(arguments: list[str]) -> list[str]:
    """Spell out amounts: ``sparsity=0.8,2:4`` becomes ``sparsity.target=0.8,2:4``. Everything else is kept.

    Rules that are typed replace those of a file, into which Hydra would merge them: an empty value goes before them.

    Raises:
        BadInput: on a mix of amounts and option names, which Hydra could not sweep.
    """
    rewritten = []
    for argument in arguments:
        if argument.lstrip("+").startswith("sparsity.rules="):
            rewritten.append(NO_RULES)
        rewritten.append(_rewrite(argument))
    return rewritten


def _rewrite(argument: str) -> str:
    key, equals, value = argument.partition("=")
    name = key.lstrip("+")
    if not equals or name not in AMOUNT_KEY:
        return argument
    try:
        amounts = {_is_amount(element) for element in _elements(_parse(argument))}
    except HydraException:
        return argument  # refused with its reason when the overrides are checked
    if amounts == {True, False}:
        raise BadInput(f"{argument}: mixes amounts and options of the group {name}; sweep one or the other")
    return f"{AMOUNT_KEY[name]}={value}" if amounts == {True} else argument


def for_hydra(arguments: list[str]) -> list[str]:
    """Let a key of a part be set although the part that is chosen before it has no such key: ``++method.start=0.2``.

    Which part is chosen, and whether it reads the key, is known only when everything is composed.
    """
    return [f"++{argument}" if _is_part_key(argument) else argument for argument in arguments]


def _is_part_key(argument: str) -> bool:
    key, equals, _ = argument.partition("=")
    group, dot, leaf = key.partition(".")
    return bool(equals and dot) and group in PART_GROUPS and leaf not in PART_GROUPS[group]


def as_typed(override: str) -> str:
    """Return an override as the user typed it: the inverse of ``for_hydra``."""
    plain = override.removeprefix("++")
    return plain if _is_part_key(plain) else override


def _parse(argument: str) -> Override:
    return OverridesParser.create().parse_override(argument)


def _elements(override: Override) -> list[Any]:
    """The values of an override: one, or those of a sweep."""
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return list(value.list)
    if isinstance(value, (RangeSweep, IntervalSweep)):
        return [0.0]  # numbers by construction
    return [value]


def _is_amount(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, (int, float)) or bool(re.fullmatch(r"\d+:\d+|-?\d+\.?\d*(e-?\d+)?%?", str(value)))


def check_overrides(arguments: list[str], multirun: bool = False, extra_dir: str | Path | None = None) -> None:
    """Raise BadInput for the first argument that names no key or no option, or sweeps without -m."""
    groups, keys = group_options(extra_dir), all_keys()
    for argument in arguments:
        if not is_override(argument):
            raise BadInput(f"{argument}: not key=value; see acdc-train --help")
        try:
            override = _parse(argument)
        except HydraException as error:
            quoted = "'{}=\"{}\"'".format(*argument.partition("=")[::2])
            raise BadInput(
                f"{argument}: {_first_line(error)}; a value with special characters needs quotes: {quoted}"
            ) from None
        key = override.key_or_group
        if key == "hydra" or key.startswith(("hydra.", "hydra/")):
            continue
        if key == TABLES:
            name = argument.partition("=")[2].partition(",")[0] or "table1"
            raise BadInput(f"{argument}: a table is many runs; use: acdc-report {name} --run")
        if override.is_sweep_override() and not multirun:
            raise BadInput(f"{argument}: a list of values is a sweep; add -m")
        if key in groups:
            for value in _elements(override):
                _check_option(key, value, groups[key])
        elif key.startswith("sparsity.rules."):
            rule, value = key.removeprefix("sparsity.rules."), argument.partition("=")[2]
            raise BadInput(f"{argument}: rules are given together: 'sparsity.rules={{{rule}:{value}}}'")
        elif key not in keys or key == "schedule.published":
            value = argument.partition("=")[2]
            fitting = [
                group
                for group, options in groups.items()
                if value in options or (group in AMOUNT_KEY and _is_amount(value))
            ]
            raise _unknown_key(argument, key, list(keys), fitting)


def _check_option(group: str, value: Any, options: list[str]) -> None:
    if isinstance(value, dict):
        raise BadInput(f"{group}={value}: set its keys one by one, {group}.KEY=VALUE")
    if group == "experiment" and value is None:  # Hydra has no such override
        raise BadInput(f"experiment=null: leave experiment out for none. Options: {', '.join(options)}")
    if not isinstance(value, str) or isinstance(value, bool):
        meant = AMOUNT_KEY.get(group) or NUMBER_MEANT.get(group)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        hint = f"did you mean {meant}={value}? " if meant and is_number else ""
        typed = f"~{group}" if value is None else f"{group}={value}"
        raise BadInput(f"{typed}: {group} is a group; {hint}Options: {', '.join(options)}")
    if value not in options and group in AMOUNT_KEY:
        raise BadInput(
            f"{group}={value}: neither an amount (a number in [0, 1) or N:M, such as 0.9 or 2:4) nor an option; "
            f"did you mean {group}={nearest(value, options)}? Options: {', '.join(options)}"
        )
    if value not in options:
        raise not_a_choice(group, value, options)


def _unknown_key(argument: str, key: str, keys: list[str], groups: list[str]) -> BadInput:
    """Guess by what a bare number is used for, by the last word (momentum for optimizer.momentum), then by spelling."""
    value = argument.partition("=")[2]
    same_last_word = [name for name in keys if name.rpartition(".")[2] == key.rpartition(".")[2]]
    candidates = same_last_word or (keys if "." in key else [*keys, *groups])
    meant = NUMBER_MEANT.get(key) or nearest(key, candidates)
    return BadInput(f"{argument}: there is no key {key}; did you mean {meant}={value}?")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
