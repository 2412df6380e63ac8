"""Which of a run's processes this is, as torchrun, SLURM or submitit tell it. No torch here: see training.group."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from acdc_cli.errors import BadInput

FIRST_PORT, PORTS = 20_000, 20_000
NO_SENSE = "the variables that say which rank this process is make no sense"


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run, which are called ranks.

    Attributes:
        rank: 0-based; rank 0 keeps the records.
        count: of all nodes.
        local_rank, local_count: the same within this node.
        meeting_point: URL at which the ranks find each other; torchrun's is in its own variables.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    meeting_point: str = "env://"

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0


ONE_RANK = Ranks()


def ranks_of(variables: Mapping[str, str]) -> Ranks:
    """Read environment variables: torchrun's, those of a SLURM step (``srun``), or submitit's local ones.

    A SLURM job's own script is not a step: what runs there directly is alone, however many tasks the job has.

    Raises:
        BadInput: if they make no sense.
    """
    try:
        ranks = _told(variables)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise BadInput(f"{error}: {NO_SENSE}") from None
    if not 0 <= ranks.rank < ranks.count or ranks.local_rank < 0:
        raise BadInput(f"rank {ranks.rank} of {ranks.count} (local rank {ranks.local_rank}): {NO_SENSE}")
    return ranks


def _told(variables: Mapping[str, str]) -> Ranks:
    if "TORCHELASTIC_RUN_ID" in variables or {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= variables.keys():
        count = int(variables["WORLD_SIZE"])
        local_count = int(variables.get("LOCAL_WORLD_SIZE", count))
        return Ranks(int(variables["RANK"]), count, int(variables.get("LOCAL_RANK", 0)), local_count)
    if int(variables.get("SUBMITIT_LOCAL_NTASKS", 1)) > 1:
        count, job = int(variables["SUBMITIT_LOCAL_NTASKS"]), variables["SUBMITIT_LOCAL_JOB_ID"]
        local_rank = int(variables["SUBMITIT_LOCAL_LOCALID"])
        return Ranks(int(variables["SUBMITIT_LOCAL_GLOBALID"]), count, local_rank, count, _url("127.0.0.1", job))
    if int(variables.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        count = int(variables["SLURM_STEP_NUM_TASKS"])
        local_count = -(-count // int(variables.get("SLURM_STEP_NUM_NODES", 1)))
        job = f"{variables['SLURM_JOB_ID']}.{variables.get('SLURM_STEP_ID', 0)}"
        url = _url(first_host(variables["SLURM_STEP_NODELIST"]), job)
        return Ranks(int(variables["SLURM_PROCID"]), count, int(variables["SLURM_LOCALID"]), local_count, url)
    return ONE_RANK


def first_host(nodes: str) -> str:
    """The first of SLURM's ``gpu[007-009,012],login1``: gpu007."""
    found = re.match(r"(?:[^\[,]|\[\d[^\]]*\])+", nodes)
    if found is None:
        raise ValueError(f"SLURM_STEP_NODELIST={nodes}")
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", found[0])


def _url(host: str, job: str) -> str:
    """A port that the job's ranks agree on without asking, and that another job on the host hardly shares."""
    return f"tcp://{host}:{FIRST_PORT + zlib.crc32(job.encode()) % PORTS}"
