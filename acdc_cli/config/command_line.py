"""What the user typed, before Hydra sees it: short forms are spelled out and typos are refused by name."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from acdc_cli.config.schema import PART_GROUPS, all_keys
from acdc_cli.errors import BadInput, nearest, not_a_choice, reason
from acdc_cli.plugins import load_announced_plugins, load_plugins

# A group whose amount may be given in place of an option: sparsity=0.9 is short for sparsity.target=0.9.
AMOUNT_KEY = {"sparsity": "sparsity.target"}
NO_RULES = "sparsity.rules=null"
# A folder of the user's whose files are tables: no group, a run cannot choose one of them.
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


_added_dirs: list[Path] = []  # folders of YAML files that every config of this process is composed with


def add_config_dir(folder: str | Path) -> None:
    """Compose every config of this process with a user's folder of YAML files too. Raises BadInput without one."""
    if not Path(folder).is_dir():
        raise BadInput(f"--config-dir {folder}: there is no such folder")
    _added_dirs.append(Path(folder).absolute())


def user_dirs(extra_dir: str | Path | None = None) -> list[Path]:
    """Return the user's folders of YAML files: that of ``--config-dir``, and those that were added."""
    return [*([] if extra_dir is None else [Path(extra_dir).absolute()]), *_added_dirs]


def group_options(extra_dir: str | Path | None = None) -> dict[str, list[str]]:
    """Return the config groups and their options, from the folders of conf/ and of the user's own.

    Raises:
        BadInput: if there is no folder ``extra_dir``.
    """
    if extra_dir is not None and not Path(extra_dir).is_dir():
        raise BadInput(f"--config-dir {extra_dir}: there is no such folder")
    groups: dict[str, list[str]] = {}
    for root in (conf_dir(), *user_dirs(extra_dir)):
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
    """Return a value in quotes, so that Hydra takes it literally."""
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
    """Raise BadInput for the first argument that names no key or no option, or sweeps without -m.

    Plug-ins that are announced or typed are imported first: what they register has keys.
    """
    load_announced_plugins()
    load_plugins(_typed_plugins(arguments))
    groups, keys = group_options(extra_dir), all_keys() | dict.fromkeys(_keys_of_files(extra_dir))
    for argument in arguments:
        if not is_override(argument):
            raise BadInput(f"{argument}: not key=value; see acdc-train --help")
        try:
            override = _parse(argument)
        except HydraException as error:
            quoted = "'{}=\"{}\"'".format(*argument.partition("=")[::2])
            raise BadInput(
                f"{argument}: {reason(error)}; a value with special characters needs quotes: {quoted}"
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


def _typed_plugins(arguments: list[str]) -> list[str]:
    """Return the plug-ins that ``plugins=[...]`` names; none where it cannot be parsed, which is said later."""
    typed = [argument for argument in arguments if key_of(argument) == "plugins" and is_override(argument)]
    with suppress(HydraException):
        value = _parse(typed[-1]).value() if typed else None
        return [str(getattr(each, "text", each)) for each in value] if isinstance(value, list) else []
    return []


def _keys_of_files(extra_dir: str | Path | None) -> list[str]:
    """Return the keys of parts in the YAML files of a user's folder: a part that a config names is registered later."""
    keys = list[str]()
    for group, folder in ((group, folder) for group in PART_GROUPS for folder in user_dirs(extra_dir)):
        for path in sorted((folder / group).glob("*.yaml")):
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            own = content.get(group, content) if isinstance(content, dict) else {}
            keys += [f"{group}.{key}" for key in own if isinstance(own, dict)]
    return keys


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
