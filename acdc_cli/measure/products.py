"""The FLOPs of the products (matrix products, convolutions) that a forward pass executes, and the weight of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
# Which arguments of an operation are multiplied, where these are not the first two. Of a bias nothing is multiplied.
OPERANDS = {aten.addmm: slice(1, 3), aten.baddbmm: slice(1, 3), aten.addmv: slice(1, 3), aten._trilinear: slice(0, 3)}
FIRST_TWO = slice(0, 2)
# Products that torch.utils.flop_counter has no formula for, and the argument each of whose elements is used once.
MATRIX_TIMES_VECTOR = {aten.mv: 0, aten.addmv: 1, aten.dot: 0}
# Fused recurrent layers, and where their weights are: on the meta device they are executed step by step.
RECURRENT = {aten.mkldnn_rnn_layer: slice(1, 3), aten._cudnn_rnn: slice(1, 2), aten.miopen_rnn: slice(1, 2)}
# Operations that read the shape of a tensor and not its values.
SHAPE_READERS = {
    *(aten.empty_like, aten.zeros_like, aten.ones_like, aten.full_like),
    *(aten.rand_like, aten.randn_like, aten.randint_like),
    *(aten.new_empty, aten.new_empty_strided, aten.new_zeros, aten.new_ones, aten.new_full),
}


def count_products(
    model: nn.Module, inputs: tuple[Any, ...], layer_weights: Collection[nn.Parameter] = ()
) -> Counter[str | None]:
    """FLOPs of one forward pass by the parameter whose values they multiply; None: products without a weight.

    What counts is what PyTorch executes, so a weight that a function uses counts like one that a layer uses. A product
    belongs to a parameter if one of its operands is that parameter or derives from it: a view, a part, a cast, or a
    tensor that was computed from parameters and constants alone, such as a standardised convolution weight. An operand
    that derives from several parameters belongs to one of ``layer_weights`` if there is one among them; of several, to
    the one with the most elements. A product without such an operand has no weight: attention scores and values.

    A multiply-add is 2 FLOPs, as in ``torch.utils.flop_counter``, whose formulas are used. The model runs in evaluation
    mode and is otherwise left as it was.

    Args:
        inputs: the model's arguments, with a batch of one sample; on the meta device the pass costs nothing.
        layer_weights: parameters of layers that are applied to something. What such a layer gives is an activation even
            if its input is a parameter, such as a learned query.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.layout == torch.strided}
    preferred = {id(weight) for weight in layer_weights}
    layers = {name for name, parameter in parameters.items() if id(parameter) in preferred}
    was_training = {module: module.training for module in model.modules()}
    mode = _ProductCounter(parameters, layers, [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)])
    try:
        model.eval()
        with torch.no_grad(), _unfused_attention(), mode:
            model(*inputs)
    finally:
        for module, training in was_training.items():
            module.training = training
    return mode.flops


@contextmanager
def _unfused_attention() -> Generator[None]:
    """Take attention's projections and products apart, which fused operations would hide."""
    was_enabled = torch.backends.mha.get_fastpath_enabled()  # of nn.MultiheadAttention and nn.TransformerEncoder
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_enabled)


class _ProductCounter(TorchDispatchMode):
    """Counts each product that is executed inside the context.

    Where tensors come from is known by their storage: views share it. A storage is that of a parameter, computed from
    parameters alone, computed from the inputs, or (when it is unknown) a constant.

    Args:
        parameters: by name.
        layers: names that are preferred, see ``count_products``.
        inputs: the tensors that the activations come from.
    """

    supports_higher_order_operators = True

    def __init__(self, parameters: dict[str, nn.Parameter], layers: set[str], inputs: list[Tensor]) -> None:
        super().__init__()
        self.flops: Counter[str | None] = Counter()
        self._layers = layers
        # Of several sources the first in this order owns a product.
        by_rank = sorted(parameters, key=lambda name: (name not in layers, -parameters[name].numel()))
        self._rank = {name: rank for rank, name in enumerate(by_rank)}
        self._parameters: dict[int, list[tuple[int, str]]] = {}
        for name, parameter in parameters.items():  # cuDNN keeps all weights of a recurrent layer in one storage
            starts = self._parameters.setdefault(_address(parameter), [])
            starts.append((int(parameter.storage_offset()), name))
        for starts in self._parameters.values():
            starts.sort(key=lambda start: (-start[0], self._rank[start[1]]))
        # The names of the parameters that a storage was computed from; None: from the inputs. The reference beside them
        # keeps the address from being given to another storage.
        self._computed: dict[int, tuple[frozenset[str] | None, object]] = {}
        self._mark(inputs, None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = getattr(func, "_overloadpacket", func)
        if packet not in flop_registry and _consists_of_others(func):
            with self:
                return func.decompose(*args, **kwargs)
        out = func(*args, **kwargs)
        if packet in SHAPE_READERS:
            return out
        sources = {self._source(tensor) for tensor in _tensors((args, kwargs))}
        for operands, flops in _products(packet, args, kwargs, out):
            weights = _joined(map(self._source, operands))
            self.flops[min(weights, key=self._rank.__getitem__, default=None)] += flops
            if not self._layers.isdisjoint(weights):
                sources = {None}  # the layer was applied: its output is an activation
        source = None if None in sources else _joined(sources)
        if source is None or source:
            self._mark(_tensors(out), source)
        return out

    def _source(self, tensor: Tensor) -> frozenset[str] | None:
        """The parameters that a tensor derives from, none for a constant; None: it derives from the inputs."""
        address = _address(tensor)
        if (starts := self._parameters.get(address)) is not None:
            return frozenset({next(name for offset, name in starts if offset <= tensor.storage_offset())})
        return self._computed[address][0] if address in self._computed else frozenset()

    def _mark(self, tensors: Iterable[Tensor], source: frozenset[str] | None) -> None:
        for tensor in tensors:
            if (address := _address(tensor)) not in self._parameters:
                is_strided = tensor.layout == torch.strided
                held = StorageWeakRef(tensor.untyped_storage()) if is_strided else tensor
                self._computed[address] = source, held


def _address(tensor: Tensor) -> int:
    """A number that a tensor has in common with its views alone, while its storage is referred to."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout == torch.strided else id(tensor)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _joined(sources: Iterable[frozenset[str] | None]) -> frozenset[str]:
    return frozenset[str]().union(*(source for source in sources if source is not None))


@cache
def _consists_of_others(func: Any) -> bool:
    """Whether an operation is made of others and reaches the counter whole, as under torch.inference_mode."""
    return isinstance(func, torch._ops.OpOverload) and func._can_decompose()


def _products(packet: Any, args: Any, kwargs: Any, out: Any) -> list[tuple[list[Tensor], int]]:
    """The products of an operation: the operands and the FLOPs of each."""
    if packet in RECURRENT:
        time_steps = args[0].numel() // args[0].shape[-1]  # of all samples
        matrices = [weight for weight in _tensors(args[RECURRENT[packet]]) if weight.dim() > 1]
        return [([matrix], 2 * time_steps * matrix.numel()) for matrix in matrices]
    operands = _tensors(args[OPERANDS.get(packet, FIRST_TWO)])
    if packet in flop_registry:
        return [(operands, flop_registry[packet](*args, **kwargs, out_val=out))]
    if packet in MATRIX_TIMES_VECTOR:
        return [(operands, 2 * args[MATRIX_TIMES_VECTOR[packet]].numel())]
    if packet is aten._trilinear:  # of nn.Bilinear: (N, in1), (out, in1, in2), (N, in2)
        return [(operands, 2 * args[0].shape[0] * args[1].numel())]
    return []
