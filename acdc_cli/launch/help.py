"""What acdc-train prints about itself: its help, and a config in full."""

from __future__ import annotations

import io
import re
import string
from collections.abc import Sequence
from contextlib import redirect_stdout

from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from acdc_cli.config.command_line import TABLES, group_options
from acdc_cli.config.hydra_compose import composed_by_hydra

OF_TABLES = re.compile(rf"^{TABLES}: .*\n|(?<!\S){TABLES}=\S* ?", re.MULTILINE)  # in Hydra's help, and in a completion


def print_help(overrides: Sequence[str], extra_dir: str | None) -> None:
    """Print the groups with their options, and the keys with the values that they have beside these overrides.

    Hydra's own --help prints the same text, but copies all files once for each group that it lists.

    Raises:
        BadInput: for what cannot be composed.
    """
    try:
        composed = composed_by_hydra(overrides, extra_dir)
        template = string.Template(composed.hydra.help.template)
        with open_dict(composed):
            del composed["hydra"]
        keys = OmegaConf.to_yaml(composed)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        from acdc_cli.config.explain import explain

        raise explain(error) from None
    groups = (f"{group}: {', '.join(sorted(options))}\n" for group, options in sorted(group_options(extra_dir).items()))
    print(template.substitute(APP_CONFIG_GROUPS="".join(groups), CONFIG=keys))


def print_by_hydra(arguments: Sequence[str]) -> None:
    """Let Hydra print, and run nothing. It takes every folder of conf/ for a group; the tables' is none."""
    from acdc_cli.launch.hydra_main import run_hydra

    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            run_hydra(arguments, print)
    finally:  # for some flags Hydra ends the program itself
        print(OF_TABLES.sub("", printed.getvalue()), end="")
