"""A compiled model is compiled once: no phase change makes torch.compile start again.

Masks act on weights in place, through hooks that lie outside the compiled graph. A wrapped layer or a mask that is
exchanged for another would be a new graph at every phase change, and minutes of compiling each time.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.exc import RecompileError
from torch._dynamo.utils import counters

from acdc_cli import ACDC, Timeline
from acdc_cli.sparsity.methods import SparseVD
from acdc_cli.sparsity.window import Window

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU"),
]

TIMELINE = Timeline.of([("dense", 0, 2), ("sparse", 2, 4), ("dense", 4, 5), ("sparse", 5, 7)])
STEPS, SPARSITY = 4, 0.8
WEIGHTS = 8 * 3 * 9 + 16 * 8 * 9 + 16 * 5
PRECISIONS = pytest.mark.parametrize("precision", ["fp32", "bf16"])


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


class SmallNet(nn.Module):
    """Convolutions, batch norm and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.second = nn.Conv2d(8, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.linear = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.norm(self.second(F.relu(self.first(images)))))
        return self.linear(maps.mean(dim=(2, 3)))


def compilations() -> int:
    """Graphs that Dynamo has compiled so far, by its own count."""
    return counters["stats"]["unique_graphs"]


def batch(step: int, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(5, (size,), generator=generator)
    return torch.randn(size, 3, 8, 8, generator=generator) + labels[:, None, None, None], labels


def train(model: nn.Module, precision: str) -> tuple[ACDC, list[int]]:
    """AC/DC in a plain loop with an evaluation after every epoch. Returns the compilations up to each epoch's end."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    method = ACDC(TIMELINE, SPARSITY).attach(model, optimizer)
    counts = []
    for epoch in range(TIMELINE.total_epochs):
        # From the second epoch on, torch itself refuses to compile a function again.
        with torch._dynamo.config.patch(error_on_recompile=epoch > 0):
            method.begin_epoch(epoch)
            model.train()
            for step in range(STEPS):
                images, labels = batch(epoch * STEPS + step)
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    loss = F.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            model.eval()
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                model(batch(1000)[0])
        counts.append(compilations())
    return method, counts


def removed(state: dict[str, Tensor] | None) -> int:
    assert state is not None
    return sum(int((state[f"{layer}.weight"] == 0).sum()) for layer in ("first", "second", "linear"))


@PRECISIONS
def test_a_compiled_model_is_never_compiled_again(precision: str) -> None:
    _, counts = train(torch.compile(SmallNet(), dynamic=False), precision)
    assert counts[0] == 2  # one graph to train, one to evaluate
    assert counts == [2] * TIMELINE.total_epochs


@PRECISIONS
def test_compiled_and_eager_runs_end_equally_sparse(precision: str) -> None:
    eager, _ = train(SmallNet(), precision)
    assert compilations() == 0
    compiled, _ = train(torch.compile(SmallNet(), dynamic=False), precision)
    assert compilations() > 0
    outputs = [method.outputs() for method in (eager, compiled)]
    assert [removed(output["sparse"]) for output in outputs] == [round(SPARSITY * WEIGHTS)] * 2
    assert list(outputs[0]["sparse"]) == list(outputs[1]["sparse"])  # no name of the wrapper in it
    kept = WEIGHTS - round(SPARSITY * WEIGHTS)
    assert [sum(int(mask.sum()) for _, mask in method.masks.items()) for method in (eager, compiled)] == [kept] * 2


def test_control_a_compilation_is_counted_and_can_be_refused() -> None:
    model = torch.compile(SmallNet(), dynamic=False)
    model(batch(0)[0])
    assert compilations() == 1
    model(batch(1)[0])
    assert compilations() == 1
    model(batch(1, size=6)[0])
    assert compilations() == 2
    with torch._dynamo.config.patch(error_on_recompile=True), pytest.raises(RecompileError):
        model(batch(1, size=4)[0])


def test_sparse_variational_dropout_is_compiled_once_for_training_and_once_for_evaluation() -> None:
    """Noise is part of the training graph; thresholding for an evaluation and putting theta back are outside both."""
    model = SmallNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = SparseVD(
        0.5,
        samples=100,
        ramp=Window(0, 0, 1),
        kl_weight=1.0,
        log_alpha_threshold=0.0,
        initial_log_sigma2=-4.0,
    ).attach(model, optimizer)
    compiled = torch.compile(model)
    for epoch in range(3):
        method.begin_epoch(epoch)
        model.train()
        for step in range(2):
            torch.manual_seed(10 * epoch + step)
            images, labels = torch.randn(8, 3, 6, 6), torch.randint(5, (8,))
            outputs = compiled(images)
            assert not torch.equal(outputs, compiled(images))
            optimizer.zero_grad()
            F.cross_entropy(outputs, labels).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            torch.testing.assert_close(compiled(images), model(images))
        assert model.linear.weight.count_nonzero() == method.masks["linear.weight"].count_nonzero() < 80
        assert compilations() == 2
    assert not counters["graph_break"]
