"""MaskSet: the masks of a model's weights. They are kept beside the model, never inside it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class MaskSet:
    """Masks by weight name (bool, True = the weight is kept) for a fixed set of weights.

    Only ``copy_`` changes the masks, and it does so in place: anyone who holds a mask tensor sees every update. The
    exception is a model that a Trainer has moved to another device; its masks are then made anew on that device.

    Attributes:
        enforced: whether weights outside the masks are held at zero now, as in a sparse phase.
        dense_gradients: whether gradients are left unmasked although the masks are enforced, because the method
            chooses its next masks by them.
    """

    enforced = False
    dense_gradients = False

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
        # Every step of a sparse phase needs the complement twice, for the gradients and for the weights.
        self._dropped = {name: torch.zeros_like(mask) for name, mask in self._masks.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, mask) pairs in model order."""
        yield from self._masks.items()

    @property
    def numel(self) -> int:
        """Number of weights that have a mask, kept or not."""
        return sum(mask.numel() for mask in self._masks.values())

    def copy_(self, masks: Mapping[str, Tensor]) -> None:
        """Replace all masks by new ones, in place. Raises KeyError if a weight has no new mask."""
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
        """Return the fraction of weights that are kept."""
        return sum(self.kept_per_layer().values()) / self.numel

    def kept_per_layer(self) -> dict[str, int]:
        """Return the number of kept weights of each layer, by name."""
        return {name: int(mask.count_nonzero()) for name, mask in self._masks.items()}

    def change_from(self, other: Mapping[str, Tensor]) -> float:
        """Return the fraction of weights whose mask differs from the other masks, in [0, 1] (AC/DC, section 4.3)."""
        changed = sum(int((mask ^ other[name].to(mask.device)).count_nonzero()) for name, mask in self._masks.items())
        return changed / self.numel

    def snapshot(self) -> dict[str, Tensor]:
        """Return copies of the current masks."""
        return {name: mask.clone() for name, mask in self._masks.items()}

    def digest(self) -> str:
        """Return a SHA-256 of names, shapes and packed bits. Digests are equal exactly if the masks are equal."""
        digest = hashlib.sha256()
        for name, packed in self.state_dict().items():
            digest.update(f"{name}{tuple(self._masks[name].shape)}".encode())
            digest.update(packed.numpy().tobytes())
        return digest.hexdigest()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the masks as packed bits by name (uint8, 1-D, on the CPU), see ``pack``."""
        return {name: pack(mask) for name, mask in self._masks.items()}

    def load_state_dict(self, packed: Mapping[str, Tensor]) -> None:
        """Restore the masks that ``state_dict`` returned, in place. Raises ValueError if the weight names differ."""
        if packed.keys() != self._masks.keys():
            different = ", ".join(sorted(packed.keys() ^ self._masks.keys()))
            raise ValueError(f"these are the masks of other weights; names in only one of the two models: {different}")
        unpacked = {name: unpack(packed[name], mask.shape) for name, mask in self._masks.items()}
        self.copy_({name: mask.to(self._masks[name].device) for name, mask in unpacked.items()})


_BIT_VALUES = [1 << bit for bit in range(8)]  # little-endian: the first weight is the lowest bit


def pack(mask: Tensor) -> Tensor:
    """Pack a mask into one bit per weight, as ``numpy.packbits(mask.ravel(), bitorder="little")``.

    The order of weights is row-major by index, whatever the memory format.
    """
    bits = mask.detach().cpu().reshape(-1).to(torch.uint8)
    padded = torch.nn.functional.pad(bits, (0, -len(bits) % 8)).view(-1, 8)
    return (padded * torch.tensor(_BIT_VALUES, dtype=torch.uint8)).sum(dim=1, dtype=torch.uint8)


def unpack(packed: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Undo ``pack``: return the bool mask of the given shape."""
    bits = (packed.cpu()[:, None] & torch.tensor(_BIT_VALUES, dtype=torch.uint8)) != 0
    return bits.reshape(-1)[: math.prod(shape)].view(tuple(shape))
