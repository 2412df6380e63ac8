"""Count the FLOPs of the products (matrix products, convolutions) that a forward pass executes, by their weight."""

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
# The arguments that an operation multiplies, if they are not the first two. A bias is not multiplied.
OPERANDS = {aten.addmm: slice(1, 3), aten.baddbmm: slice(1, 3), aten.addmv: slice(1, 3), aten._trilinear: slice(0, 3)}
FIRST_TWO = slice(0, 2)
# Products without a formula in torch.utils.flop_counter, and the argument whose elements are each used once.
MATRIX_TIMES_VECTOR = {aten.mv: 0, aten.addmv: 1, aten.dot: 0}
# Fused recurrent layers, and which arguments are their weights. On the meta device these layers run step by step.
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
    """Count the FLOPs of one forward pass by the parameter that they multiply. The key None has all other products.

    The operations that PyTorch executes are counted, so it does not matter whether a layer or a function uses a weight.
    A product belongs to a parameter if one of its operands is this parameter or derives from it: a view, a part, a
    cast, or a tensor computed from parameters and constants alone, such as a standardised convolution weight. If an
    operand derives from several parameters, ``layer_weights`` come before the others, and among these the parameter
    with the most elements comes first. A product without such an operand has no weight; attention scores and values
    are examples.

    A multiply-add is 2 FLOPs, as in ``torch.utils.flop_counter``, whose formulas are used. The model runs in evaluation
    mode; afterwards it is as it was.

    Args:
        model: preferably on the meta device, where the pass costs nothing.
        inputs: the model's arguments, with a batch of one sample.
        layer_weights: parameters of layers. The output of a layer is an activation even if its input is a parameter,
            such as a learned query.
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
    """Disable fused attention, because a fused operation would hide the projections and products inside it."""
    was_enabled = torch.backends.mha.get_fastpath_enabled()  # for nn.MultiheadAttention and nn.TransformerEncoder
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_enabled)


class _ProductCounter(TorchDispatchMode):
    """Counts each product that is executed inside the context.

    The origin of a tensor is looked up by its storage, which views share. A storage belongs to a parameter, or is
    computed from parameters alone, or is computed from the inputs. A storage that is not registered is a constant.

    Args:
        parameters: the model's parameters, by name.
        layers: names of the parameters that own a product before others, see ``count_products``.
        inputs: the tensors from which the activations are computed.
    """

    supports_higher_order_operators = True

    def __init__(self, parameters: dict[str, nn.Parameter], layers: set[str], inputs: list[Tensor]) -> None:
        super().__init__()
        self.flops: Counter[str | None] = Counter()
        self._layers = layers
        # If an operand has several sources, the first one in this order owns the product.
        by_rank = sorted(parameters, key=lambda name: (name not in layers, -parameters[name].numel()))
        self._rank = {name: rank for rank, name in enumerate(by_rank)}
        self._parameters: dict[int, list[tuple[int, str]]] = {}
        for name, parameter in parameters.items():  # cuDNN keeps all weights of a recurrent layer in one storage
            starts = self._parameters.setdefault(_address(parameter), [])
            starts.append((int(parameter.storage_offset()), name))
        for starts in self._parameters.values():
            starts.sort(key=lambda start: (-start[0], self._rank[start[1]]))
        # Address -> the names of the parameters that the storage was computed from (None if from the inputs), and a
        # reference to the storage, so that its address is not reused for another one.
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
                sources = {None}  # a layer was applied, so its output is an activation
        source = None if None in sources else _joined(sources)
        if source is None or source:
            self._mark(_tensors(out), source)
        return out

    def _source(self, tensor: Tensor) -> frozenset[str] | None:
        """Return the parameters that a tensor derives from, an empty set for a constant; None if from the inputs."""
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
    """Return a number that only the tensor and its views have, as long as something refers to their storage."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout == torch.strided else id(tensor)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _joined(sources: Iterable[frozenset[str] | None]) -> frozenset[str]:
    return frozenset[str]().union(*(source for source in sources if source is not None))


@cache
def _consists_of_others(func: Any) -> bool:
    """Return whether an operation is composed of others. Under torch.inference_mode it reaches the counter whole."""
    return isinstance(func, torch._ops.OpOverload) and func._can_decompose()


def _products(packet: Any, args: Any, kwargs: Any, out: Any) -> list[tuple[list[Tensor], int]]:
    """Return the products of an operation, each as (operands, FLOPs)."""
    if packet in RECURRENT:
        time_steps = args[0].numel() // args[0].shape[-1]  # time steps of all samples together
        matrices = [weight for weight in _tensors(args[RECURRENT[packet]]) if weight.dim() > 1]
        return [([matrix], 2 * time_steps * matrix.numel()) for matrix in matrices]
    operands = _tensors(args[OPERANDS.get(packet, FIRST_TWO)])
    if packet in flop_registry:
        return [(operands, flop_registry[packet](*args, **kwargs, out_val=out))]
    if packet in MATRIX_TIMES_VECTOR:
        return [(operands, 2 * args[MATRIX_TIMES_VECTOR[packet]].numel())]
    if packet is aten._trilinear:  # nn.Bilinear calls this with (N, in1), (out, in1, in2), (N, in2)
        return [(operands, 2 * args[0].shape[0] * args[1].numel())]
    return []
