"""Short runs of every method, and what is compared of them: the bits of their models and the rows of their records.

``PYTHONPATH=tests python -m golden.run_digests FILE`` writes the digests of this machine. They are committed as
``run_digests.json`` with the instruction set, the threads and the version of PyTorch that they were made with.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from helpers.training import model_state, train, without_times

from acdc_cli.config.compose import compose_config
from acdc_cli.data.preparing.prepare import prepare
from acdc_cli.records.folder import RunFolder
from acdc_cli.training.execute import execute

DIGESTS = Path(__file__).with_name("run_digests.json")
SHORT = ("epochs=4", "precision=fp64", "sparsity=0.9")
# In single precision the rounding of two machines differs so much that after some steps their masks do.
SINGLE = ("epochs=4", "precision=fp32", "sparsity=0.9")
OFTEN = "method.interval_steps=3"  # of 24 steps
PATCHES = ("experiment=patches_methods", "loader=torch", "epochs=3", "precision=fp32", "sparsity=0.9")
# name -> what is typed. A run's start is the name of an earlier one.
RUNS: dict[str, tuple[str, ...]] = {
    **{f"digits-{name}": (*SHORT, f"method={name}") for name in ("dense", "acdc", "str", "dsd", "sparse_vd", "iht")},
    **{f"digits-{name}": (*SHORT, f"method={name}") for name in ("static", "snip", "magnitude")},
    **{f"digits-{name}": (*SHORT, f"method={name}", OFTEN) for name in ("gmp", "rigl", "set", "top_kast")},
    "digits-woodfisher": (*SHORT, "method=woodfisher", "method.fisher_samples=16"),
    "digits-woodfisher-gradual": (
        *(*SHORT, "method=woodfisher_gradual", "method.fisher_samples=16"),
        *("method.interval_epochs=1", "method.end=0.5"),
    ),
    "digits-acdc-uniform": (*SHORT, "sparsity=uniform", "sparsity.rules={first:0}", "optimizer=adamw"),
    **{f"digits-{name}-fp32": (*SINGLE, f"method={name}") for name in ("acdc", "sparse_vd", "iht")},
    **{f"digits-{name}-fp32": (*SINGLE, f"method={name}", OFTEN) for name in ("rigl", "top_kast")},
    "digits-acdc-2-4": ("epochs=4", "precision=fp64", "sparsity=2:4", "accumulation=2"),
    "digits-acdc-block": ("epochs=4", "precision=fp64", "sparsity=block", "sparsity.target=0.5"),
    "digits-acdc-best": (*SHORT, "keep_best=true", "bn_recalibration=true", "label_smoothing=0.1"),
    "digits-finetuned": ("finetune=dense", "start_from=digits-acdc"),
    "digits-from-weights": (*SHORT, "start_from=digits-acdc", "masks=from_weights"),
    "digits-demo": ("precision=fp32", "epochs=10", "sparsity=0.9", "model.width=32", "loader=torch"),
    "patches-acdc": (*PATCHES, "method=acdc"),
    "patches-rigl": (*PATCHES, "method=rigl"),
}
FIGURES = ("train_loss", "train_top1", "val_loss", "val_top1", "sparsity", "inference_flops", "train_flops_total")


def instruction_set() -> str:
    """The name of the vector instructions that PyTorch's own kernels use here, such as AVX2."""
    return str(torch.backends.cpu.get_cpu_capability())


def machine() -> dict[str, Any]:
    """Everything that a run's bits depend on besides its words."""
    return {"instruction_set": instruction_set(), "threads": 1, "torch": torch.__version__}


def digest(run: RunFolder) -> str:
    """SHA-256 over every tensor of ``models/`` and every row of metrics.jsonl, without the times."""
    total = hashlib.sha256()
    for file in sorted(run.models.glob("*.safetensors")):
        for name, tensor in sorted(model_state(run, file.stem).items()):
            total.update(f"{file.stem} {name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    total.update(json.dumps(without_times(run), sort_keys=True).encode())
    return total.hexdigest()


def figures(run: RunFolder) -> list[list[float]]:
    """The numbers of every epoch that another machine is compared with."""
    return [[row[name] for name in FIGURES] for row in run.read_metrics()]


def words_of(name: str, done: dict[str, RunFolder]) -> list[str]:
    """What is typed for a run, with the folder of the run that it starts from."""
    typed = [word.partition("=") for word in RUNS[name]]
    return [f"{key}={done[value].path if key == 'start_from' else value}" for key, _, value in typed]


def make(name: str, done: dict[str, RunFolder], runs_dir: Path, data_dir: Path) -> RunFolder:
    """Train one run. A fine-tuning takes everything but its folder from the run that it goes on from."""
    words = words_of(name, done)
    if "finetune=dense" in words:
        return execute(compose_config([*words, f"runs_dir={runs_dir}", "tracker=none"]), lambda line: None)
    return train(runs_dir, data_dir, *words)


def main(file: Path) -> None:
    """Make every run once and write the digests."""
    torch.set_num_threads(1)
    done: dict[str, RunFolder] = {}
    with tempfile.TemporaryDirectory() as folder:
        for dataset in ("digits", "patches"):
            prepare(dataset, None, Path(folder) / "data" / dataset)
        for name in RUNS:
            done[name] = make(name, done, Path(folder) / name, Path(folder) / "data")
            print(name, digest(done[name])[:12], file=sys.stderr, flush=True)
        runs = {name: {"sha256": digest(run), "figures": figures(run)} for name, run in done.items()}
    file.write_text(json.dumps({"machine": machine(), "figures": list(FIGURES), "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("WANDB_MODE", "offline")
    main(Path(sys.argv[1]))
