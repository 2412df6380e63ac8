"""The examples, run small: what they leave is looked at from outside, with torch alone."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from acdc_cli import Timeline

EXAMPLES = Path(__file__).parents[2] / "examples"
EPOCHS, BATCH_SIZE = 6, 32
TIMELINE = Timeline.acdc(EPOCHS)
SPARSITY = {"plain_loop": 0.9, "lightning_trainer": 0.9, "huggingface_trainer": 0.8, "timm_model": 0.8}

slow = pytest.mark.slow
each_example = pytest.mark.parametrize(
    "name",
    [
        "plain_loop",
        pytest.param("lightning_trainer", marks=pytest.mark.exhaustive),
        pytest.param("huggingface_trainer", marks=pytest.mark.exhaustive),
        pytest.param("timm_model", marks=slow),
    ],
)

State = dict[str, Tensor]


def prunable(model: nn.Module) -> list[str]:
    """Names of the weights of linear and convolution layers: written again, so as not to trust the package's own."""
    layers = (nn.Linear, nn.Conv2d)
    return [f"{name}.weight" for name, module in model.named_modules() if isinstance(module, layers)]


def zeros(state: State, names: list[str]) -> Tensor:
    """Which of the named weights are exactly 0."""
    return torch.cat([state[name].detach().flatten() == 0 for name in names])


class Watch:
    """The example's model and, after each of its optimizer's steps, where its zeros are."""

    def __init__(self, example: ModuleType) -> None:
        self.models: list[nn.Module] = []
        self.zeros: list[Tensor] = []
        make = example.network

        def network() -> nn.Module:
            self.models.append(make())
            return self.models[-1]

        self.network = network

    def after_step(self, optimizer: Optimizer, args: object, kwargs: object) -> None:
        model = self.models[0]
        own = next(model.parameters())
        if not any(own is each for group in optimizer.param_groups for each in group["params"]):
            return  # a small one, by which AC/DC asks how this kind of optimizer begins
        self.zeros.append(zeros(dict(model.named_parameters()), prunable(model)))


@pytest.fixture
def example(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    imported_before = set(sys.modules)
    yield importlib.import_module(name)
    for module in {name, "digits"} - imported_before:
        sys.modules.pop(module, None)


@each_example
def test_an_example_trains_both_models_and_holds_the_zeros_at_every_step(
    example: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(example)
    monkeypatch.setattr(example, "network", watch.network)
    hook = register_optimizer_step_post_hook(watch.after_step)  # runs after every optimizer's own hooks
    try:
        trained = example.main(epochs=EPOCHS, sparsity=SPARSITY[name], batch_size=BATCH_SIZE)
    finally:
        hook.remove()

    names = prunable(watch.models[0])
    total = len(zeros(trained.sparse, names))
    removed = round(SPARSITY[name] * total)
    assert int(zeros(trained.sparse, names).sum()) == removed
    assert int(zeros(trained.dense, names).sum()) < removed / 2
    assert trained.sparsity == removed / total
    for state in (trained.sparse, trained.dense):
        watch.network().load_state_dict(state)  # strict: the architecture's own names, all of them
    assert min(trained.sparse_accuracy, trained.dense_accuracy) > 0.5  # chance: 0.1

    steps, left_over = divmod(len(watch.zeros), EPOCHS)
    assert steps > 10 and not left_over
    phase_of = [TIMELINE.phase(step // steps) for step in range(len(watch.zeros))]
    for phase, group in groupby(zip(phase_of, watch.zeros, strict=True), key=lambda pair: pair[0]):
        patterns = [pattern for _, pattern in group]
        if phase.kind == "sparse":
            assert int(patterns[0].sum()) == removed, phase
            assert all(torch.equal(pattern, patterns[0]) for pattern in patterns), phase
        else:
            assert int(patterns[-1].sum()) < removed / 2, phase


@pytest.mark.exhaustive
def test_an_example_is_a_script(tmp_path: Path) -> None:
    script = str(EXAMPLES / "plain_loop.py")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sparsity 0.9000; accuracy: sparse 0.9")
