"""What a run's ranks do together. With one rank everything here costs nothing and changes nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from acdc_cli.errors import AcdcError, Elsewhere, Interrupted, reason
from acdc_cli.ranks import ONE_RANK, Ranks

T = TypeVar("T")
TIMEOUT = timedelta(minutes=30)  # for the slowest thing that a rank does while others wait: preparing a data set


class Group:
    """The ranks of a run, and their two ways to talk: the device's (gradients), and the host's (everything else)."""

    def __init__(self, ranks: Ranks = ONE_RANK, host: Any = None) -> None:
        self.ranks = ranks
        self._host = host  # a gloo process group; None: there is one rank

    @property
    def is_first(self) -> bool:
        """Whether this rank writes and speaks."""
        return self.ranks.is_first

    def together(self, action: Callable[[], T]) -> T:
        """Do something on every rank; what goes wrong on one ends all, nobody waits for it, and the first one says it.

        The action itself must not talk to the other ranks.
        """
        if self._host is None:
            return action()
        result, error = None, None
        try:
            result = action()
        except (AcdcError, OSError) as own:
            error = own
        errors: list[Any] = [None] * self.ranks.count
        distributed.all_gather_object(errors, error, group=self._host)
        if found := [each for each in errors if each is not None]:
            raise found[0] if self.is_first else Elsewhere(found[0])
        return cast(T, result)

    def first_on_each_node(self, action: Callable[[], T]) -> T:
        """Do something on every rank, but on one of each node before the others: what it has made they then find."""
        made = self.together(lambda: action() if self.ranks.local_rank == 0 else None)
        return made if made is not None else action()

    def from_first(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        if self._host is None:
            return value
        values: list[Any] = [value]
        distributed.broadcast_object_list(values, src=0, group=self._host)
        return values[0]

    def joined(self, part: Tensor) -> Tensor:
        """The ranks' parts (n_r, ...) one after the other, on the CPU of every rank."""
        if self._host is None:
            return part.cpu()
        parts: list[Any] = [None] * self.ranks.count
        distributed.all_gather_object(parts, part.cpu(), group=self._host)
        return torch.cat(parts)

    def sum(self, *totals: Tensor) -> list[Tensor]:
        """Each total over all ranks."""
        if self._host is None:
            return list(totals)
        summed = torch.stack([total.cpu() for total in totals])
        distributed.all_reduce(summed, group=self._host)
        return [total.to(old.device) for total, old in zip(summed, totals, strict=True)]

    def start_maximum(self, number: int) -> Callable[[], int]:
        """Begin to find the ranks' largest number; the function returned waits for it. The device waits for nothing."""
        if self._host is None:
            return lambda: number
        largest = torch.tensor(number)
        work = distributed.all_reduce(largest, distributed.ReduceOp.MAX, group=self._host, async_op=True)

        def wait() -> int:
            work.wait()
            return int(largest)

        return wait

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite these with rank 0's."""
        if self._host is not None:
            for tensor in tensors:
                distributed.broadcast(tensor.data, src=0)

    def parallel(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model for training steps: its gradients are means over the ranks. The parameters stay the model's own.

        Buffers are not spread before every forward pass, as is PyTorch's default: in training a batch norm does not
        read its running statistics, so rank 0's are the same whether the others have had them or not. ``spread`` them
        once before they are read.
        """
        if self._host is None:
            return model
        devices = [device] if device.type == "cuda" else None
        # The weights of a 1x1 convolution in channels_last are the same memory, described in two ways.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the word's successor is unknown to PyTorch before 2.15
            return DistributedDataParallel(
                model, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def gradients_of(self, model: nn.Module, are_complete: bool) -> AbstractContextManager[None]:
        """Return the context of a forward and backward pass. A step's last one averages gradients over the ranks."""
        if self._host is None or are_complete:
            return nullcontext()
        return unwrapped(model).no_sync()


ALONE = Group()


def unwrapped(model: Any) -> DistributedDataParallel:
    """DistributedDataParallel, out of torch.compile."""
    return getattr(model, "_orig_mod", model)


@contextmanager
def joined_group(ranks: Ranks, device: torch.device) -> Iterator[Group]:
    """Find the other ranks and leave them at the end.

    Raises:
        AcdcError: if they do not meet.
        Interrupted: if one of them is lost: what is on record is good, and the same command goes on from there.
    """
    if ranks.count == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        distributed.init_process_group(
            backend, init_method=ranks.meeting_point, rank=ranks.rank, world_size=ranks.count, timeout=TIMEOUT
        )
    except (RuntimeError, ValueError) as error:
        raise AcdcError(f"rank {ranks.rank} of {ranks.count} has not met the others: {error}") from None
    try:
        yield Group(ranks, distributed.new_group(backend="gloo", timeout=TIMEOUT))
    except RuntimeError as error:
        if not rank_is_lost(error):
            raise
        raise Interrupted(f"lost another rank ({reason(error)}); the same command goes on") from None
    finally:
        distributed.destroy_process_group()


def rank_is_lost(error: BaseException) -> bool:
    """Whether an error comes from a collective whose other end is gone."""
    words = ("gloo", "NCCL", "ProcessGroup", "Connection closed by peer", "Connection reset by peer")
    if isinstance(error, distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)
