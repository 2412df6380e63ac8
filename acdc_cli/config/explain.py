"""One line for each error of Hydra and OmegaConf."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.errors import MissingConfigException
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from acdc_cli.config.schema import all_keys
from acdc_cli.errors import BadInput, nearest, not_a_choice

_LAUNCHER = "hydra/launcher/"
LAUNCHER_PACKAGES = {
    "joblib": "hydra-joblib-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
}
_TYPE_WORDS = {"Integer": "a whole number", "Float": "a number", "bool": "true or false"}


def explain(error: BaseException) -> BadInput:
    """One line for an error of Hydra or OmegaConf that the checks before them did not foresee."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MissingMandatoryValue):
            return BadInput(f"{cause.full_key}: has no value; set {cause.full_key}=VALUE")
        if isinstance(cause, MissingConfigException) and (file := cause.missing_cfg_file or "").startswith(_LAUNCHER):
            return _no_launcher(file.removeprefix(_LAUNCHER), cause.options or [])
        if isinstance(cause, ConfigKeyError) and cause.full_key:
            meant = nearest(cause.full_key, all_keys())
            return BadInput(f"{cause.full_key}: there is no such key; did you mean {meant}?")
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            reason = str(cause.msg or cause).splitlines()[0]
            wrong_type = re.match(r"Value '(.*?)'(?: of type '.*?')? .*?(Integer|Float|bool)", reason)
            if wrong_type:
                return BadInput(f"{cause.full_key}={wrong_type[1]}: must be {_TYPE_WORDS[wrong_type[2]]}")
            if "list or tuple" in reason:
                example = "[0.1,0.5,0.7]" if cause.full_key == "schedule.boundaries" else "[20,30]"
                return BadInput(f"{cause.full_key}={cause.value}: must be a list, such as {example}")
            return BadInput(f"{cause.full_key}: {reason}")
        cause = cause.__cause__ or cause.__context__
    return BadInput(re.sub(r"\s+", " ", str(error)).strip())


def _no_launcher(name: str, others: Sequence[str]) -> BadInput:
    if name in LAUNCHER_PACKAGES:
        return BadInput(f"hydra/launcher={name}: is not installed; run: pip install {LAUNCHER_PACKAGES[name]}")
    return not_a_choice("hydra/launcher", name, sorted({*others, *LAUNCHER_PACKAGES}))
