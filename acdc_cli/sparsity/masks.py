"""MaskSet: which weights exist, kept beside the model and never inside it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class MaskSet:
    """name -> bool mask (True = the weight exists) for a fixed set of weights.

    The tensors change in place, through ``copy_`` alone, so whoever holds one sees every update; only where new masks
    come from another device, because a Trainer has moved the model, they follow it there.

    Attributes:
        enforced: whether weights outside the masks are held at zero now (a sparse phase).
        dense_gradients: whether gradients are wanted for all weights all the same, to choose new masks by.
    """

    enforced = False
    dense_gradients = False

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
        # The complement is what every step of a sparse phase needs, twice.
        self._dropped = {name: torch.zeros_like(mask) for name, mask in self._masks.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """(name, mask) pairs, in model order."""
        yield from self._masks.items()

    @property
    def numel(self) -> int:
        """Weights covered, kept or not."""
        return sum(mask.numel() for mask in self._masks.values())

    def copy_(self, masks: Mapping[str, Tensor]) -> None:
        """Take over new masks in place. Raises KeyError if a weight has none."""
        for name, mask in self._masks.items():
            if mask.device != masks[name].device:
                self._masks[name] = mask = torch.empty_like(mask, device=masks[name].device)
                self._dropped[name] = torch.empty_like(mask)
            mask.copy_(masks[name])
            torch.logical_not(mask, out=self._dropped[name])

    @torch.no_grad()
    def apply_(self, weights: Mapping[str, Tensor]) -> None:
        """Set every weight outside its mask to exactly 0.0, in place."""
        for name in self._masks:
            self.apply_to_(name, weights[name])

    def apply_to_(self, name: str, tensor: Tensor) -> None:
        """Set a tensor (a weight, its gradient, its average) to exactly 0.0 outside one mask, in place."""
        tensor.masked_fill_(self._dropped[name].to(tensor.device), 0.0)

    def density(self) -> float:
        """Fraction of weights that exist."""
        return sum(self.kept_per_layer().values()) / self.numel

    def kept_per_layer(self) -> dict[str, int]:
        """Weights that exist, by name."""
        return {name: int(mask.count_nonzero()) for name, mask in self._masks.items()}

    def change_from(self, other: Mapping[str, Tensor]) -> float:
        """Fraction of all weights whose mask differs from another set's, in [0, 1] (AC/DC, section 4.3)."""
        changed = sum(int((mask ^ other[name].to(mask.device)).count_nonzero()) for name, mask in self._masks.items())
        return changed / self.numel

    def snapshot(self) -> dict[str, Tensor]:
        """Copies of the masks as they are now."""
        return {name: mask.clone() for name, mask in self._masks.items()}

    def digest(self) -> str:
        """SHA-256 over names, shapes and packed bits: equal on two machines exactly if the masks are."""
        digest = hashlib.sha256()
        for name, packed in self.state_dict().items():
            digest.update(f"{name}{tuple(self._masks[name].shape)}".encode())
            digest.update(packed.numpy().tobytes())
        return digest.hexdigest()

    def state_dict(self) -> dict[str, Tensor]:
        """name -> packed bits (uint8, 1-D, on the CPU), see ``pack``."""
        return {name: pack(mask) for name, mask in self._masks.items()}

    def load_state_dict(self, packed: Mapping[str, Tensor]) -> None:
        """Restore what ``state_dict`` returned, in place. Raises ValueError for another model's."""
        if packed.keys() != self._masks.keys():
            raise ValueError(f"masks of other weights: {', '.join(sorted(packed.keys() ^ self._masks.keys()))}")
        unpacked = {name: unpack(packed[name], mask.shape) for name, mask in self._masks.items()}
        self.copy_({name: mask.to(self._masks[name].device) for name, mask in unpacked.items()})


_BIT_VALUES = [1 << bit for bit in range(8)]  # little: the first weight is the lowest bit


def pack(mask: Tensor) -> Tensor:
    """Eight weights a byte: ``numpy.packbits(mask.ravel(), bitorder="little")`` in logical row-major order."""
    bits = mask.detach().cpu().reshape(-1).to(torch.uint8)
    padded = torch.nn.functional.pad(bits, (0, -len(bits) % 8)).view(-1, 8)
    return (padded * torch.tensor(_BIT_VALUES, dtype=torch.uint8)).sum(dim=1, dtype=torch.uint8)


def unpack(packed: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Inverse of ``pack``, for a mask of the given shape."""
    bits = (packed.cpu()[:, None] & torch.tensor(_BIT_VALUES, dtype=torch.uint8)) != 0
    return bits.reshape(-1)[: math.prod(shape)].view(tuple(shape))
