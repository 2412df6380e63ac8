"""A method attached to a wrapped model, or before it is wrapped, does what it does to the model itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from case_run import batch, small_net
from torch import Tensor, distributed, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from acdc_cli.sparsity import ACDC, Timeline, model_state

TIMELINE = Timeline.of([("dense", 0, 1), ("sparse", 1, 2), ("dense", 2, 3), ("sparse", 3, 4)])


def compiled(model: nn.Module) -> nn.Module:
    """Traced, but run by PyTorch's own kernels, which keep every bit."""
    return torch.compile(model, backend="eager")


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "data_parallel": DataParallel,
    "distributed": DistributedDataParallel,
    "compiled": compiled,
    "compiled_distributed": lambda model: compiled(DistributedDataParallel(model)),
    "distributed_compiled": lambda model: DistributedDataParallel(compiled(model)),
}


@pytest.fixture(autouse=True, scope="module")
def group_of_one() -> Iterator[None]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def train(wrap: Callable[[nn.Module], nn.Module], attach_first: bool = False) -> tuple[ACDC, nn.Module]:
    """Four phases. Returns the method and an average of the wrapped model."""
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    method = ACDC(TIMELINE, 0.8)
    if attach_first:
        method.attach(model, optimizer)
    wrapped = wrap(model)
    if not attach_first:
        method.attach(wrapped, optimizer)
    average = AveragedModel(wrapped)
    for epoch in range(4):
        method.begin_epoch(epoch)
        for step in range(2):
            images, labels = batch(step, epoch)
            optimizer.zero_grad()
            F.cross_entropy(wrapped(images), labels).backward()
            optimizer.step()
            average.update_parameters(wrapped)
    return method, average


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert list(left) == list(right) == list(small_net().state_dict())
    for name in left:
        assert torch.equal(left[name], right[name]), name


@pytest.mark.parametrize("attach_first", [False, True], ids=["wrap_attach", "attach_wrap"])
@pytest.mark.parametrize("name", WRAPPERS)
def test_outputs_are_those_of_the_plain_model(name: str, attach_first: bool) -> None:
    plain, plain_average = train(lambda model: model)
    method, average = train(WRAPPERS[name], attach_first)
    for kind in ("sparse", "dense"):
        assert_same(method.outputs()[kind], plain.outputs()[kind])
    assert_same(model_state(average, method.masks), model_state(plain_average, plain.masks))
    assert sum(int((tensor == 0).sum()) for tensor in method.outputs()["sparse"].values() if tensor.ndim > 1) == 83
