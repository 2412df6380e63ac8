"""Which rank a process is, by the variables that launchers set."""

from __future__ import annotations

import pytest

from acdc_cli.errors import BadInput
from acdc_cli.ranks import ONE_RANK, Ranks, first_host, ranks_of

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "host",
    "MASTER_PORT": "29500",
}
# A step of 6 tasks on 3 nodes; the job's own script sees SLURM_NTASKS and SLURM_PROCID=0, but no step.
BATCH_SCRIPT = {
    "SLURM_JOB_ID": "4711",
    "SLURM_NTASKS": "6",
    "SLURM_JOB_NUM_NODES": "3",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_JOB_NODELIST": "gpu[007-009]",
}
STEP = BATCH_SCRIPT | {
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_STEP_NODELIST": "gpu[007-009]",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}
SUBMITIT_LOCAL = {
    "SUBMITIT_EXECUTOR": "local",
    "SUBMITIT_LOCAL_JOB_ID": "123",
    "SUBMITIT_LOCAL_NTASKS": "2",
    "SUBMITIT_LOCAL_LOCALID": "1",
    "SUBMITIT_LOCAL_GLOBALID": "1",
}


def without(variables: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in variables.items() if key != name}


def test_no_launcher_is_one_rank() -> None:
    assert ranks_of({}) == ONE_RANK == Ranks(rank=0, count=1, local_rank=0, local_count=1)
    assert ONE_RANK.is_first


def test_torchruns_variables() -> None:
    ranks = ranks_of(TORCHRUN)
    assert ranks == Ranks(rank=5, count=8, local_rank=1, local_count=4, meeting_point="env://")
    assert not ranks.is_first


def test_other_launchers_that_set_pytorchs_own_variables() -> None:
    variables = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    assert ranks_of(variables) == Ranks(rank=1, count=2, local_rank=0, local_count=2)
    assert ranks_of(without(variables, "MASTER_ADDR")) == ONE_RANK  # some shell's RANK


def test_a_slurm_step() -> None:
    ranks = ranks_of(STEP)
    assert (ranks.rank, ranks.count, ranks.local_rank, ranks.local_count) == (3, 6, 1, 2)
    host, port = ranks.meeting_point.removeprefix("tcp://").split(":")
    assert host == "gpu007" and 20_000 <= int(port) < 40_000
    assert ranks_of(STEP | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}).meeting_point == ranks.meeting_point
    assert ranks_of(STEP | {"SLURM_STEP_ID": "1"}).meeting_point != ranks.meeting_point


def test_a_slurm_jobs_own_script_is_one_rank() -> None:
    assert ranks_of(BATCH_SCRIPT) == ONE_RANK
    assert ranks_of(STEP | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) == ONE_RANK


def test_torchrun_inside_a_slurm_step_is_torchruns() -> None:
    assert ranks_of(STEP | TORCHRUN) == ranks_of(TORCHRUN)


def test_submitits_local_executor() -> None:
    ranks = ranks_of(SUBMITIT_LOCAL)
    assert (ranks.rank, ranks.count, ranks.local_rank, ranks.local_count) == (1, 2, 1, 2)
    assert ranks.meeting_point.startswith("tcp://127.0.0.1:")
    assert ranks_of(SUBMITIT_LOCAL | {"SUBMITIT_LOCAL_NTASKS": "1", "SUBMITIT_LOCAL_GLOBALID": "0"}) == ONE_RANK


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("gpu1", "gpu1"),
        ("gpu1,gpu2", "gpu1"),
        ("gpu[007-009,012]", "gpu007"),
        ("gpu[007-009,012],login1", "gpu007"),
        ("gpu[12,14-15]", "gpu12"),
        ("login1,gpu[007-009]", "login1"),
        ("rack[0-3]-ib", "rack0-ib"),
        ("rack[02-63]blade[5-41]", "rack02blade5"),
    ],
)
def test_the_first_of_slurms_nodes(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        (without(TORCHRUN, "WORLD_SIZE"), "WORLD_SIZE"),
        (TORCHRUN | {"RANK": "five"}, "five"),
        (TORCHRUN | {"RANK": "8"}, "8"),
        (TORCHRUN | {"RANK": "-1"}, "-1"),
        (TORCHRUN | {"WORLD_SIZE": "0", "RANK": "0"}, "0"),
        (without(STEP, "SLURM_PROCID"), "SLURM_PROCID"),
        (STEP | {"SLURM_STEP_NUM_TASKS": "many"}, "many"),
        (STEP | {"SLURM_STEP_NODELIST": ""}, "SLURM_STEP_NODELIST"),
        (STEP | {"SLURM_STEP_NUM_NODES": "0"}, "zero"),
        (without(SUBMITIT_LOCAL, "SUBMITIT_LOCAL_JOB_ID"), "SUBMITIT_LOCAL_JOB_ID"),
    ],
    ids=str,
)
def test_variables_that_make_no_sense_are_one_line(variables: dict[str, str], named: str) -> None:
    with pytest.raises(BadInput) as refused:
        ranks_of(variables)
    assert named in str(refused.value) and "\n" not in str(refused.value)
