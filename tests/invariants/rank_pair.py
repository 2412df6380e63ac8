"""Two real processes in a gloo group that run function after function: starting them takes longer than most cases."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from torch import distributed

RANKS = 2
START_SECONDS = 120.0
COLLECTIVE_SECONDS = 60


class RankError(RuntimeError):
    """A rank raised, died or hung."""


class RankPair:
    """Runs functions on both ranks at once. After a failure the processes are new ones: a group does not recover."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = 0
        self._processes: list[Any] = []
        self._connections: list[Connection] = []

    def run(self, function: Callable[..., Any], *arguments: Any, seconds: float = 60.0) -> list[Any]:
        """What the (importable) function returns on rank 0 and on rank 1.

        Raises:
            RankError: if it raises on a rank, a process dies, or an answer takes too long.
        """
        if not self._processes:
            self._start()
            seconds += START_SECONDS
        try:
            for connection in self._connections:
                connection.send((function, arguments))
            return self._answers(time.monotonic() + seconds)
        except (OSError, RankError) as error:
            self.close()
            raise error if isinstance(error, RankError) else RankError(f"a rank is gone: {error!r}") from error

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        for process in self._processes:
            process.kill()
            process.join()
        self._processes, self._connections = [], []

    def _start(self) -> None:
        context = get_context("spawn")
        self._started += 1
        group_file = self._folder / f"group_{self._started}"  # no port to collide on
        for rank in range(RANKS):
            ours, its = context.Pipe()
            process = context.Process(target=_serve, args=(rank, str(group_file), its), daemon=True)
            process.start()
            its.close()  # so that its death closes the pipe
            self._processes.append(process)
            self._connections.append(ours)

    def _answers(self, deadline: float) -> list[Any]:
        answers: dict[int, Any] = {}
        while len(answers) < RANKS:
            missing = [rank for rank in range(RANKS) if rank not in answers]
            ready = wait([self._connections[rank] for rank in missing], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise RankError(f"no answer from ranks {missing}")
            for rank in [rank for rank in missing if self._connections[rank] in ready]:
                try:
                    good, answers[rank] = self._connections[rank].recv()
                except EOFError:
                    raise RankError(f"rank {rank} died") from None
                if not good:
                    raise RankError(f"on rank {rank}:\n{answers[rank]}")
        return [answers[rank] for rank in range(RANKS)]


def _serve(rank: int, group_file: str, connection: Connection) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{group_file}",
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(seconds=COLLECTIVE_SECONDS),
    )
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:  # the tests are over
            return
        try:
            connection.send((True, function(*arguments)))
        except Exception:
            connection.send((False, traceback.format_exc()))
