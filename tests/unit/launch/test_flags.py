"""The flags of acdc-train."""

from __future__ import annotations

import re

import pytest

from acdc_cli.errors import BadInput
from acdc_cli.launch.flags import as_arguments, flags_of


def test_flags_and_overrides_may_stand_in_any_order() -> None:
    flags = flags_of(["sparsity=0.9", "-m", "seed=0,1", "-cd", "mine"])
    assert (flags.overrides, flags.multirun, flags.config_dir) == (["sparsity=0.9", "seed=0,1"], True, "mine")
    assert as_arguments(flags) == ["--multirun", "--config-dir", "mine", "sparsity=0.9", "seed=0,1"]


def test_info_may_have_a_word_behind_it() -> None:
    assert flags_of(["-i"]).info == "all"
    assert as_arguments(flags_of(["--info", "searchpath"])) == ["--info", "searchpath"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--plan", "--plan: there is no such flag"),
        ("--cfg jobs", "invalid choice: 'jobs'"),
        ("--resolve", "--resolve: goes with --cfg job"),
        ("-m --cfg job", "--multirun --cfg: one of them at a time; drop --multirun"),
        ("-c", "expected one argument"),
    ],
)
def test_bad_flags(line: str, said: str) -> None:
    with pytest.raises(BadInput, match=re.escape(said)):
        flags_of(line.split())
