"""WoodFisher: choices and updates by hand, what it leaves alone, and against magnitude pruning on a trained network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.toy_layers import backward, mask_of, plain_sgd, row, rows, step, weights_of
from sklearn.datasets import load_digits
from torch import Tensor, nn

from acdc_cli.sparsity import fisher_memory
from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.fisher_memory import largest_block, require_memory
from acdc_cli.sparsity.methods import magnitude, woodfisher
from acdc_cli.sparsity.moving import MovingMasks
from acdc_cli.sparsity.target import AllocationError
from acdc_cli.sparsity.window import Window

# The mean of outer products of these is diag(1, 100) / 2: the second weight's curvature is a hundred times the first's.
STEEP = ((1.0, 0.0), (0.0, 10.0))


class Passes:
    """Backward passes with these gradients of a row; counts them, and notes the mode that the model is in."""

    def __init__(self, *gradients: tuple[float, ...]) -> None:
        self.gradients, self.done, self.training = gradients, 0, []

    def __call__(self, model: nn.Module) -> Iterator[None]:
        for gradient in self.gradients:
            backward(model, *gradient)
            self.done += 1
            self.training.append(model.training)
            yield


def pruned(layer: nn.Module, passes: Any, sparsity: float | str = 0.5, **options: Any) -> MovingMasks:
    settings = {"samples": len(passes.gradients), "block": 100, "damping": 1e-3} | options
    method = woodfisher(sparsity, passes, **settings).attach(layer, plain_sgd(layer))
    method.begin_epoch(0)
    return method


def test_the_flat_direction_goes_though_its_weight_is_larger() -> None:
    layer = row(3.0, 1.0)  # rho = 9/2 * 1/2 and 1/2 * 50
    assert mask_of(pruned(layer, Passes(*STEEP))) == [0, 1]
    assert weights_of(layer) == [0.0, 1.0]  # no entry of F between the two


def test_two_weights_of_a_block_go_each_by_itself_or_together() -> None:
    """F = C + 1e-3 I with C from three gradients; the expected weights are the formulas' own, in float64."""
    gradients = ((1.0, 2.0, 0.0), (0.0, 1.0, 1.0), (2.0, 0.0, 1.0))
    weights = torch.tensor([1.0, 1.5, 8.0], dtype=torch.float64)
    outer = sum(torch.tensor(each, dtype=torch.float64).outer(torch.tensor(each).double()) for each in gradients)
    curvature = outer / 3 + 1e-3 * torch.eye(3)
    inverse = torch.linalg.inv(curvature)
    summed = weights[2] - sum(weights[q] * inverse[2, q] / inverse[q, q] for q in (0, 1))
    together = weights[2] + (curvature[2, 0] * weights[0] + curvature[2, 1] * weights[1]) / curvature[2, 2]
    for joint, expected in ((False, summed), (True, together)):
        layer = row(1.0, 1.5, 8.0)
        assert mask_of(pruned(layer, Passes(*gradients), sparsity=2 / 3, joint=joint)) == [0, 0, 1]
        assert weights_of(layer) == pytest.approx([0.0, 0.0, float(expected)], rel=1e-3)
    assert abs(summed - together) > 0.1


def test_the_remaining_weight_moves_to_the_optimum_of_the_quadratic() -> None:
    """Gradients (1, 1) and (1, 0): F = [[1, 1/2], [1/2, 1/2]], A = [[2, -2], [-2, 4]].

    rho = 16/4 and 25/8 of w = (4, 5): the second goes, and the first gains F_12 / F_11 * 5.
    """
    layer = row(4.0, 5.0)
    assert mask_of(pruned(layer, Passes((1.0, 1.0), (1.0, 0.0)))) == [1, 0]
    torch.testing.assert_close(layer.weight, torch.tensor([[6.5, 0.0]]), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 6.5), (0.9, 6.25), (0.0, 4.0)])
def test_the_move_can_be_scaled(scale: float, expected: float) -> None:
    """As above: all of the 2.5 that the first gains, 2.25 of them, none."""
    layer = row(4.0, 5.0)
    assert mask_of(pruned(layer, Passes((1.0, 1.0), (1.0, 0.0)), update_scale=scale)) == [1, 0]
    torch.testing.assert_close(layer.weight, torch.tensor([[expected, 0.0]]), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize(("compact", "expected"), [(False, [4.0, 0.0, 0.0, 1.0]), (True, [6.5, 0.0, 0.0, 1.0])])
def test_compact_blocks_close_up_over_what_is_gone(compact: bool, expected: list[float]) -> None:
    """Blocks of two, and F = 1/4 [[2, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 100]].

    Of blocks {0, 1} and {2, 3} rho is w^2 F / 2 = 4, 0.00125, 3.1 and 12.5: the second goes, then the third, and
    nothing moves. Compact, {0, 2} and {3} are the blocks by then: A = [[4, -4], [-4, 8]], rho = 2 and 25/16, so that it
    is the third again, and the first gains 5 * 4 / 8.
    """
    layer = row(4.0, 0.1, 5.0, 1.0)
    passes = Passes((1.0, 0.0, 1.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 10.0))
    options: dict[str, Any] = {"window": Window(0, 1, 1), "initial_sparsity": 0.25, "block": 2, "damping": 1e-5}
    method = pruned(layer, passes, compact=compact, **options)
    assert mask_of(method) == [1, 0, 1, 1]
    method.begin_epoch(1)
    assert mask_of(method) == [1, 0, 0, 1]
    assert weights_of(layer) == pytest.approx(expected, rel=1e-3)


def test_compact_a_layer_of_which_nothing_is_left_is_passed_over() -> None:
    """(0.1) is gone after the first of three prunings; of (4, 5, 6), uncorrelated, the smallest goes next."""

    class Both:
        gradients = range(3)

        def __call__(self, model: nn.Module) -> Iterator[None]:
            for gradient in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
                backward(model[0], 1.0)
                backward(model[1], *gradient)
                yield

    model = rows((0.1,), (4.0, 5.0, 6.0))
    method = pruned(model, Both(), window=Window(0, 2, 1), initial_sparsity=0.25, compact=True)
    method.begin_epoch(1)
    method.begin_epoch(2)
    assert [mask_of(method, f"{index}.weight") for index in (0, 1)] == [[0], [0, 1, 1]]


def test_between_two_blocks_nothing_is_seen() -> None:
    """With blocks of one weight: rho = w^2 F / 2 = 8 and 6.25, and nothing moves."""
    layer = row(4.0, 5.0)
    assert mask_of(pruned(layer, Passes((1.0, 1.0), (1.0, 0.0)), block=1)) == [1, 0]
    assert weights_of(layer) == [4.0, 0.0]


def test_the_ranking_is_over_all_layers() -> None:
    class Both:
        gradients = range(2)

        def __call__(self, model: nn.Module) -> Iterator[None]:
            for gradient in STEEP:
                backward(model[0], *gradient)
                backward(model[1], 20 * gradient[0], gradient[1])
                yield

    model = rows((3.0, 1.0), (3.0, 0.1))  # curvatures 1/2 and 50; 200 and 50
    method = pruned(model, Both())
    assert [mask_of(method, f"{index}.weight") for index in (0, 1)] == [[0, 1], [1, 0]]


def test_layers_that_stay_dense_do_not_move() -> None:
    model = rows((4.0, 5.0), (4.0, 5.0))

    class Both:
        gradients = range(2)

        def __call__(self, model: nn.Module) -> Iterator[None]:
            for gradient in ((1.0, 1.0), (1.0, 0.0)):
                sum(layer(torch.tensor([gradient])) for layer in model).backward()
                yield

    method = pruned(model, Both(), rules={"0": 0})
    assert weights_of(model[0]) == [4.0, 5.0]
    assert mask_of(method, "1.weight") == [1, 0]


def test_n_m_goes_by_the_statistic() -> None:
    layer = row(3.0, 1.0, 1.0, 3.0)
    steep = ((1.0, 0.0, 0.0, 0.0), (0.0, 10.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    assert mask_of(pruned(layer, Passes(*steep), sparsity="1:2")) == [0, 1, 0, 1]


def test_blocks_go_by_the_sum_of_their_statistics() -> None:
    """F = 1/2 of the identity: rho = w^2 / 4, 2.25 + 0.0025 and 1 + 1, though 3 + 0.1 is less than 2 + 2."""
    layer = row(3.0, 0.1, 2.0, 2.0)
    even = tuple(tuple(2**0.5 * (place == index) for place in range(4)) for index in range(4))
    allocation = Allocation(0.5, block=(1, 2))
    assert mask_of(pruned(layer, Passes(*even), sparsity=allocation)) == [1, 1, 0, 0]


def test_gradual_pruning_by_hand() -> None:
    """Epochs 1, 3 and 5 of sixteen weights: 4, 12 - 8 / 8 = 11 and 12 are gone; what is gone has no gradient left."""
    torch.manual_seed(0)
    layer = row(*torch.randn(16).tolist())
    passes = Passes(*torch.randn(20, 16).tolist())
    method = woodfisher(
        0.75, passes, samples=20, block=4, damping=1e-5, window=Window(1, 6, 2), initial_sparsity=0.25
    ).attach(layer, plain_sgd(layer))
    removed, gone = [], torch.zeros(1, 16, dtype=torch.bool)
    for epoch in range(8):
        method.begin_epoch(epoch)
        assert (layer.weight == 0)[gone].all()
        gone = layer.weight == 0
        removed.append(int(gone.sum()))
        step(layer, method._covered.optimizers[0], *(0.01,) * 16)
    assert removed == [0, 4, 4, 11, 11, 12, 12, 12]
    assert passes.done == 3 * 20


def test_mode_statistics_and_gradients_are_put_back() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    model.train()
    model[1].eval()  # frozen by the user
    model(torch.randn(5, 4)).sum().backward()
    before = {name: value.clone() for name, value in model.named_buffers()}
    gradients = [parameter.grad for parameter in model.parameters()]
    values = [gradient.clone() for gradient in gradients]

    def passes(inner: nn.Module) -> Iterator[None]:
        assert not any(module.training for module in inner.modules())
        for index in range(8):
            assert all(parameter.grad is None for parameter in inner.parameters())
            inner(torch.full((2, 4), float(index))).pow(2).sum().backward()
            yield

    woodfisher(0.5, passes, samples=8, block=4, damping=1e-3).attach(model, plain_sgd(model)).begin_epoch(0)
    assert [module.training for module in model] == [True, False, True] and model.training
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    for parameter, gradient, value in zip(model.parameters(), gradients, values, strict=True):
        assert parameter.grad is gradient and torch.equal(gradient, value)


def test_fewer_gradients_than_asked_for() -> None:
    layer = row(3.0, 1.0)
    with pytest.raises(ValueError, match="the Fisher sample has 2 gradients, and 3 were asked for"):
        pruned(layer, Passes(*STEEP), samples=3)
    assert weights_of(layer) == [3.0, 1.0] and layer.training


def test_more_passes_than_samples_are_left_alone() -> None:
    passes = Passes(*STEEP, (9.0, 9.0))
    pruned(row(3.0, 1.0), passes, samples=2)
    assert passes.done == 2


def test_a_gradient_that_is_not_finite_is_named() -> None:
    with pytest.raises(FloatingPointError, match="gradient 2 of the Fisher sample is not finite in weight"):
        pruned(row(3.0, 1.0), Passes((1.0, 0.0), (float("inf"), 0.0)))


def test_a_singular_block_is_damped_and_said() -> None:
    """Blocks of two: gradients of 100 in the second drown lambda in float32; a thousand times as much holds them."""
    said: list[str] = []
    layer, passes = row(1.0, 2.0, 2.0, 1.0), Passes((1e-2, 0.0, 1e2, 0.0), (0.0, 1e-2, 1e2, 1e2))
    method = pruned(layer, passes, block=2, damping=1e-5, say=said.append)
    assert all("1 of the Fisher matrix's 2 blocks are singular (weight): damped by up to" in line for line in said)
    assert 1 <= len(said) <= 5 and passes.done == 2 * (1 + len(said))
    assert mask_of(method) == [0, 0, 1, 1] and torch.isfinite(layer.weight).all()


def test_a_damping_that_no_block_can_be_inverted_with() -> None:
    said: list[str] = []
    model = rows((1.0, 2.0), (3.0, 4.0))

    def passes(model: nn.Module) -> Iterator[None]:
        for _ in range(2):
            sum(layer(torch.ones(1, 2)).sum() for layer in model).backward()
            yield

    method = woodfisher(0.5, passes, samples=2, block=2, damping=1e-30, say=said.append).attach(model, plain_sgd(model))
    with pytest.raises(
        FloatingPointError, match=r"in 0\.weight and 1 more, damped by up to 1e-20; use a larger damping"
    ):
        method.begin_epoch(0)
    assert said[0].startswith(
        "2 of the Fisher matrix's 2 blocks are singular (0.weight and 1 more): damped by up to 1e-29"
    )


def test_half_precision_weights_have_a_float32_fisher_matrix() -> None:
    layer = row(4.0, 5.0).bfloat16()

    class Half(Passes):
        def __call__(self, model: nn.Module) -> Iterator[None]:
            for gradient in self.gradients:
                model(torch.tensor([gradient], dtype=torch.bfloat16)).sum().backward()
                yield

    pruned(layer, Half((1.0, 1.0), (1.0, 0.0)))
    assert weights_of(layer) == [6.5, 0.0]


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(AllocationError, match="woodfisher cannot honour N:M"):
        woodfisher("2:4", Passes(), samples=1, block=1, damping=1.0, window=Window(0, 4, 2))


def test_memory_is_asked_for_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million weights: in blocks of 100 they need 4 * 10^8 bytes, 0.4 GiB; 2^28 bytes have room for blocks of 20."""
    monkeypatch.setattr(fisher_memory, "available_bytes", lambda device: 2**28)
    with pytest.raises(MemoryError, match=r"100 weights needs 0\.4 GiB of memory, and 0\.2 GiB are free; nearest: 20"):
        require_memory([torch.zeros(1000, 1000)], [10**6], 100)
    require_memory([torch.zeros(1000, 1000)], [10**6], 20)
    passes = Passes(*STEEP)
    monkeypatch.setattr(fisher_memory, "available_bytes", lambda device: 15)
    with pytest.raises(MemoryError):
        pruned(row(3.0, 1.0), passes)
    assert passes.done == 0


def test_the_largest_block_that_half_of_the_memory_takes() -> None:
    """ResNet50 has 25.5 million weights: 24 GiB / 2 / 4 bytes / 25.5e6 = 126 of each; a GPU of 80 GiB has 421."""
    assert largest_block([25_502_912], 24 * 2**30) == 100
    assert largest_block([25_502_912], 80 * 2**30) == 200
    assert largest_block([25_502_912], 24 * 2**30, element_bytes=8) == 50
    assert largest_block([296_480], 24 * 2**30) == 2000
    assert largest_block([25_502_912], 2**20) == 1


def digits_net() -> tuple[nn.Module, Tensor, Tensor]:
    """64-64-10 on scikit-learn's digits, the first 1437 to train on."""
    images, labels = (torch.tensor(each) for each in load_digits(return_X_y=True))
    images = (images / 16).float()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-4)
    for index in range(200):
        part = slice(index % 11 * 128, index % 11 * 128 + 128)
        optimizer.zero_grad()
        F.cross_entropy(model(images[part]), labels[part]).backward()
        optimizer.step()
    return model, images, labels


@pytest.mark.parametrize(("sparsity", "joint"), [(0.7, False), (0.8, False), (0.9, False), (0.7, True), (0.8, True)])
def test_one_shot_it_beats_magnitude(sparsity: float, joint: bool) -> None:
    """No fine-tuning: validation loss, and correct images of 360."""
    loss, correct = {}, {}
    for name in ("magnitude", "woodfisher"):
        model, images, labels = digits_net()

        def passes(inner: nn.Module, images: Tensor = images, labels: Tensor = labels) -> Iterator[None]:
            for index in range(400):
                F.cross_entropy(inner(images[index : index + 1]), labels[index : index + 1]).backward()
                yield

        method = (
            magnitude(sparsity)
            if name == "magnitude"
            else woodfisher(sparsity, passes, samples=400, block=256, damping=1e-5, joint=joint)
        )
        method.attach(model, plain_sgd(model)).begin_epoch(0)
        assert method.masks.density() == pytest.approx(1 - sparsity, abs=1e-3)
        with torch.no_grad():
            logits = model(images[1437:])
        loss[name] = F.cross_entropy(logits, labels[1437:]).item()
        correct[name] = int((logits.argmax(dim=1) == labels[1437:]).sum())
    assert loss["woodfisher"] < loss["magnitude"]
    assert correct["woodfisher"] > correct["magnitude"]
