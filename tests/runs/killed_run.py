"""Kill a run at a rename, go on with it, and say how that ended; for every rename that is asked for.

    python killed_run.py RUNS DATA_DIR OVERWRITE NUMBER ...

For each number n a process of its own runs ``train`` in RUNS/n and dies, as by SIGKILL, in place of its n-th rename.
Another one then goes on. This process itself trains nothing: what it forks may.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

KILLED = 137
TYPED = ("epochs=3", "batch_size=512", "model.width=2", "precision=fp32")


def forked(action: Callable[[], object]) -> int:
    """The exit code of a process that does the action."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        action()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def die_at(number: int) -> None:
    """From now on the rename of that number ends the process before it happens."""
    replace, done = os.replace, 0

    def counted(source: str, target: str) -> None:
        nonlocal done
        done += 1
        if done == number:
            os._exit(KILLED)
        replace(source, target)

    os.replace = counted


def main(runs: Path, data_dir: Path, overwrite: bool, numbers: list[int]) -> None:
    import torch
    from helpers.training import train

    torch.set_num_threads(1)

    def run(folder: Path, *more: str) -> None:
        train(folder, data_dir, *TYPED, *more)

    for number in numbers:
        folder = runs / str(number)
        more = ("run.overwrite=true",) if overwrite else ()
        if overwrite:
            assert forked(lambda folder=folder: run(folder)) == 0
        killed = forked(lambda folder=folder, number=number, more=more: (die_at(number), run(folder, *more)))
        resumed = forked(lambda folder=folder: run(folder))
        print(json.dumps({"number": number, "killed": killed, "resumed": resumed}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "true", [int(number) for number in sys.argv[4:]])
