"""AC/DC (Algorithm 1 and appendix): what happens at phase starts, in between, at the end, and across a restart."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from acdc_cli import ACDC, Timeline
from acdc_cli.sparsity import Dense, Work, excluded, model_state

PHASES = [("dense", 0, 2), ("sparse", 2, 4), ("dense", 4, 6), ("sparse", 6, 8)]
SHORT = [("dense", 0, 1), ("sparse", 1, 2), ("dense", 2, 3), ("sparse", 3, 4)]
STEPS = 3  # an epoch

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]

OPTIMIZERS: dict[str, MakeOptimizer] = {
    "sgd_momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
    "sgd_nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.5, lr_decay=0.1),
}
COUNTS_STEPS = ["adam", "adamw", "nadam", "rmsprop", "adagrad"]


def small_net(seed: int = 0) -> nn.Module:
    """Convolution, batch norm and linear: 72 + 32 prunable weights."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten(), nn.Linear(8, 4)
    )


def sgd(model: nn.Module) -> Optimizer:
    return OPTIMIZERS["sgd_momentum"](model.parameters())


def backward(model: nn.Module, epoch: int, index: int) -> None:
    """The loss of a batch that depends on (epoch, index) alone."""
    generator = torch.Generator().manual_seed(1000 * epoch + index)
    images = torch.randn(8, 2, 6, 6, generator=generator)
    F.cross_entropy(model(images), torch.randint(4, (8,), generator=generator)).backward()


def train_epoch(model: nn.Module, optimizer: Optimizer, epoch: int) -> None:
    for index in range(STEPS):
        backward(model, epoch, index)
        optimizer.step()
        optimizer.zero_grad()


def train(model: nn.Module, optimizer: Optimizer, method: ACDC, epochs: Iterable[int]) -> list[float | None]:
    """Epochs in a plain loop. Returns ``mask_change`` of each."""
    changes = []
    for epoch in epochs:
        method.begin_epoch(epoch)
        changes.append(method.mask_change)
        train_epoch(model, optimizer, epoch)
    return changes


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert list(left) == list(right)
    for name in left:
        assert torch.equal(left[name], right[name]), name


def row(*weights: float) -> nn.Linear:
    """One output, its weights by hand: prunable, and small enough to follow."""
    layer = nn.Linear(len(weights), 1, bias=False)
    set_row(layer, *weights)
    return layer


def set_row(layer: nn.Linear, *weights: float) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights]))


def row_method(layer: nn.Linear, **options: object) -> tuple[ACDC, Optimizer]:
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    return ACDC(Timeline.of(SHORT), sparsity=0.5, **options).attach(layer, optimizer), optimizer


# ---------------------------------------------------------------------------------------------- as the contract shows


def test_the_contracts_snippet_in_a_plain_loop() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    loader = [
        (torch.randn(8, 2, 6, 6, generator=generator), torch.randint(4, (8,), generator=generator)) for _ in range(3)
    ]
    method = ACDC(Timeline.acdc(epochs=10), sparsity=0.9).attach(model, optimizer)
    for epoch in range(10):
        method.begin_epoch(epoch)
        for x, y in loader:
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
    sparse, dense = method.outputs()["sparse"], method.outputs()["dense"]
    weights = ["0.weight", "5.weight"]  # 72 + 32 = 104 weights, round(93.6) = 94 removed
    assert sum(int((sparse[name] == 0).sum()) for name in weights) == 94
    assert sum(int((dense[name] == 0).sum()) for name in weights) < 94
    for state in (sparse, dense):
        small_net(seed=1).load_state_dict(state)  # strict: plain keys, buffers included


@pytest.mark.parametrize("timeline", [Timeline.dense(4), Timeline.of([*SHORT, ("dense", 4, 5)])], ids=str)
def test_a_run_that_does_not_end_sparse_is_refused(timeline: Timeline) -> None:
    with pytest.raises(ValueError, match="end"):
        ACDC(timeline, sparsity=0.9)


@pytest.mark.parametrize("sparsity", [1.0, -0.1, 90, "4:2", "much"])
def test_a_wrong_target_is_refused(sparsity: float | str) -> None:
    with pytest.raises(ValueError, match=str(sparsity)):
        ACDC(Timeline.of(SHORT), sparsity=sparsity)


def test_a_model_without_prunable_weights_is_refused() -> None:
    model = nn.LayerNorm(4)
    with pytest.raises(ValueError, match="prune"):
        ACDC(Timeline.of(SHORT), sparsity=0.5).attach(model, sgd(model))


class Wrapper(Optimizer):
    """As Accelerate's and timm's Lookahead do it: the base class's constructor is never called."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.param_groups, self.defaults, self.state = optimizer.param_groups, optimizer.defaults, optimizer.state
        self._optimizer_step_post_hooks: dict = {}

    def step(self, closure: Callable[[], float] | None = None) -> None:
        self.optimizer.step(closure)


def test_a_wrapper_that_calls_no_hooks_is_refused() -> None:
    model = small_net()
    with pytest.raises(TypeError, match=r"Wrapper wraps an optimizer.*; attach to its \.optimizer"):
        ACDC(Timeline.of(SHORT), sparsity=0.5).attach(model, Wrapper(sgd(model)))


# ----------------------------------------------------------------------------------------------------- sparse phases


def test_a_sparse_phase_keeps_the_largest_weights() -> None:
    layer = row(1.0, -4.0, 2.0, 3.0)
    method, _ = row_method(layer)
    method.begin_epoch(0)
    assert method.masks is None
    assert layer.weight.tolist() == [[1.0, -4.0, 2.0, 3.0]]
    method.begin_epoch(1)
    assert layer.weight.tolist() == [[0.0, -4.0, 0.0, 3.0]]
    assert method.masks["weight"].int().tolist() == [[0, 1, 0, 1]]


def test_biases_and_norms_are_never_pruned() -> None:
    model = small_net()
    before = copy_of(model)
    method = ACDC(Timeline.of(SHORT), sparsity=0.9).attach(model, sgd(model))
    method.begin_epoch(1)
    for name in set(before) - {"0.weight", "5.weight"}:
        assert torch.equal(model.state_dict()[name], before[name]), name
    assert list(method.masks) == ["0.weight", "5.weight"]


def test_masks_do_not_change_inside_a_phase() -> None:
    model = small_net()
    optimizer = sgd(model)
    method = ACDC(Timeline.of(PHASES), sparsity=0.5).attach(model, optimizer)
    digests = []
    for epoch in range(8):
        method.begin_epoch(epoch)
        digests.append(method.masks.digest() if method.masks else None)
        for index in range(STEPS):
            backward(model, epoch, index)
            optimizer.step()
            optimizer.zero_grad()
            assert (method.masks.digest() if method.masks else None) == digests[-1]
    assert digests[:2] == [None, None]
    assert digests[2] == digests[3] == digests[4] == digests[5]  # a dense phase has those of the phase before it
    assert digests[6] == digests[7] != digests[2]


def test_n_to_m_keeps_two_of_four_inputs() -> None:
    layer = row(1.0, -4.0, 2.0, 3.0, 9.0, 8.0, -7.0, 6.0)
    method = ACDC(Timeline.of(SHORT), sparsity="2:4").attach(layer, sgd(layer))
    method.begin_epoch(1)
    assert layer.weight.tolist() == [[0.0, -4.0, 0.0, 3.0, 9.0, 8.0, 0.0, 0.0]]


def test_n_to_m_names_the_layers_it_leaves_dense() -> None:
    model = small_net()
    method = ACDC(Timeline.of(SHORT), sparsity="2:4").attach(model, sgd(model))
    assert excluded(method.shares) == ["0.weight"]  # two input channels
    method.begin_epoch(1)
    assert int((model[0].weight == 0).sum()) == 0
    assert int((model[5].weight == 0).sum()) == 16


def test_gradients_are_masked_as_they_accumulate() -> None:
    layer = row(1.0, -4.0, 2.0, 3.0)
    method, _ = row_method(layer)
    inputs = torch.tensor([[5.0, 6.0, 7.0, 8.0]])
    method.begin_epoch(0)
    layer(inputs).sum().backward()
    assert layer.weight.grad.tolist() == [[5.0, 6.0, 7.0, 8.0]]
    layer.weight.grad = None
    method.begin_epoch(1)
    layer(inputs).sum().backward()
    assert layer.weight.grad.tolist() == [[0.0, 6.0, 0.0, 8.0]]
    layer(inputs).sum().backward()
    assert layer.weight.grad.tolist() == [[0.0, 12.0, 0.0, 16.0]]
    method.begin_epoch(2)
    layer.weight.grad = None
    layer(inputs).sum().backward()
    assert layer.weight.grad.tolist() == [[5.0, 6.0, 7.0, 8.0]]


def test_clipping_sees_masked_gradients() -> None:
    layer = row(1.0, -4.0, 2.0, 3.0)
    method, optimizer = row_method(layer)
    method.begin_epoch(1)
    layer(torch.tensor([[100.0, 6.0, 100.0, 8.0]])).sum().backward()
    assert float(nn.utils.clip_grad_norm_(layer.parameters(), max_norm=5.0)) == 10.0  # of (6, 8)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), torch.tensor([[0.0, -7.0, 0.0, -1.0]]), rtol=0, atol=1e-4)


def test_weight_decay_and_old_momentum_do_not_revive_a_weight() -> None:
    layer = row(1.0, -4.0, 2.0, 3.0)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    method = ACDC(Timeline.of(SHORT), sparsity=0.5).attach(layer, optimizer)
    for epoch in (0, 1):
        method.begin_epoch(epoch)
        layer(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert float(optimizer.state[layer.weight]["momentum_buffer"][0, 0]) != 0.0
    assert layer.weight[0, [0, 2]].tolist() == [0.0, 0.0]


def test_a_step_that_the_scaler_skips_does_no_harm() -> None:
    layer = row(1.0, -4.0, 2.0, 3.0)
    method, optimizer = row_method(layer)
    scaler = torch.amp.GradScaler("cpu")
    method.begin_epoch(1)
    scaler.scale(layer(torch.tensor([[1.0, float("inf"), 1.0, 1.0]])).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert layer.weight.tolist() == [[0.0, -4.0, 0.0, 3.0]]
    optimizer.zero_grad()
    scaler.scale(layer(torch.ones(1, 4)).sum()).backward()
    scaler.step(optimizer)
    assert layer.weight.tolist() == [[0.0, -5.0, 0.0, 2.0]]


# ------------------------------------------------------------------------------------------------------ dense phases


def test_weights_reenter_at_zero() -> None:
    layer = row(1.0, -4.0, 2.0, 3.0)
    method, optimizer = row_method(layer)
    method.begin_epoch(1)
    method.begin_epoch(2)
    assert layer.weight.tolist() == [[0.0, -4.0, 0.0, 3.0]]
    layer(torch.ones(1, 4)).sum().backward()
    optimizer.step()  # each weight minus 1.0 * 1
    assert layer.weight.tolist() == [[-1.0, -5.0, -1.0, 2.0]]


@pytest.mark.parametrize("dense_epoch", [2, 4])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_dense_phase_continues_as_a_fresh_optimizer_would(name: str, dense_epoch: int) -> None:
    model = small_net()
    optimizer = OPTIMIZERS[name](model.parameters())
    timeline = Timeline.of([(("dense", "sparse")[epoch % 2], epoch, epoch + 1) for epoch in range(6)])
    method = ACDC(timeline, sparsity=0.5).attach(model, optimizer)
    train(model, optimizer, method, range(dense_epoch))
    assert all(parameter.grad is None for parameter in model.parameters())  # where the reference code's reset fails
    fresh = small_net()
    fresh.load_state_dict(model.state_dict())
    fresh_optimizer = OPTIMIZERS[name](fresh.parameters())
    method.begin_epoch(dense_epoch)
    for index in range(STEPS):
        for net, its_optimizer in ((model, optimizer), (fresh, fresh_optimizer)):
            backward(net, dense_epoch, index)
            its_optimizer.step()
            its_optimizer.zero_grad()
        assert_same(copy_of(model), copy_of(fresh))


@pytest.mark.parametrize("name", COUNTS_STEPS)
def test_step_counters_start_again(name: str) -> None:
    model = small_net()
    optimizer = OPTIMIZERS[name](model.parameters())
    method = ACDC(Timeline.of(SHORT), sparsity=0.5).attach(model, optimizer)
    train(model, optimizer, method, range(2))
    assert {int(optimizer.state[p]["step"]) for p in model.parameters()} == {2 * STEPS}
    train(model, optimizer, method, [2])
    assert {int(optimizer.state[p]["step"]) for p in model.parameters()} == {STEPS}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_reset_can_be_turned_off(name: str) -> None:
    """Also the control of the tests above: without a reset the next update is another one."""
    after = []
    for reset_moments in (True, False):
        model = small_net()
        optimizer = OPTIMIZERS[name](model.parameters())
        method = ACDC(Timeline.of(SHORT), sparsity=0.5, reset_moments=reset_moments).attach(model, optimizer)
        train(model, optimizer, method, range(2))
        before = copy_of(model)
        train(model, optimizer, method, [2])
        after.append(model[5].weight.detach() - before["5.weight"])
    assert not torch.equal(*after)


def test_moments_survive_the_start_of_sparse_phases_and_later_epochs() -> None:
    model = small_net()
    optimizer = sgd(model)
    method = ACDC(Timeline.of(PHASES), sparsity=0.5).attach(model, optimizer)
    for epoch in range(8):
        buffers = [state["momentum_buffer"].clone() for state in optimizer.state.values()]
        method.begin_epoch(epoch)
        if epoch == 4:
            assert not optimizer.state
        else:
            kept = [state["momentum_buffer"] for state in optimizer.state.values()]
            assert all(torch.equal(*pair) for pair in zip(buffers, kept, strict=True))
        train_epoch(model, optimizer, epoch)


# ------------------------------------------------------------------------------------------------ numbers on the way


def test_mask_change_by_hand() -> None:
    layer = row(1.0, 2.0, 3.0, 4.0)
    method, _ = row_method(layer)
    method.begin_epoch(0)
    assert method.mask_change is None
    method.begin_epoch(1)  # keeps 3, 4: there is no phase before it to compare with
    assert method.mask_change is None
    method.begin_epoch(2)
    assert method.mask_change is None
    set_row(layer, 4.0, 1.0, 3.0, 2.0)
    method.begin_epoch(3)  # keeps 4, 3: the first and the last weight differ, 2 of 4
    assert method.masks["weight"].int().tolist() == [[1, 0, 1, 0]]
    assert method.mask_change == 0.5


def test_mask_change_is_reported_in_the_first_epoch_of_a_phase_alone() -> None:
    model = small_net()
    optimizer = sgd(model)
    method = ACDC(Timeline.of(PHASES), sparsity=0.5).attach(model, optimizer)
    changes = train(model, optimizer, method, range(8))
    assert [change is not None for change in changes] == [False] * 6 + [True, False]


def test_what_a_step_costs() -> None:
    """C.2: 3f in a sparse phase; in a dense one forward and error on the zeros there are, weight gradients for all."""
    layer = row(1.0, 2.0, 3.0, 4.0)
    method, _ = row_method(layer)
    method.begin_epoch(0)
    assert method.work() == Work(True, True, False)
    method.begin_epoch(1)
    assert method.work() == Work(True, True, True)
    assert Dense().work() == Work(False, False, False)


# ----------------------------------------------------------------------------------------------------------- outputs


def test_dense_is_the_state_right_before_the_last_pruning() -> None:
    model = small_net()
    optimizer = sgd(model)
    method = ACDC(Timeline.of(PHASES), sparsity=0.5).attach(model, optimizer)
    train(model, optimizer, method, range(6))
    before = copy_of(model)
    train(model, optimizer, method, [6, 7])
    assert_same(method.outputs()["dense"], before)
    assert_same(method.outputs()["sparse"], copy_of(model))


def test_there_is_no_output_before_the_last_sparse_phase() -> None:
    model = small_net()
    optimizer = sgd(model)
    method = ACDC(Timeline.of(PHASES), sparsity=0.5).attach(model, optimizer)
    train(model, optimizer, method, range(6))
    with pytest.raises(RuntimeError):
        method.outputs()


def test_outputs_are_plain_detached_copies() -> None:
    model = small_net()
    optimizer = sgd(model)
    method = ACDC(Timeline.of(SHORT), sparsity=0.5).attach(model, optimizer)
    train(model, optimizer, method, range(4))
    outputs = method.outputs()
    assert list(outputs) == ["sparse", "dense"]
    for kind, state in outputs.items():
        assert list(state) == list(model.state_dict()), kind
        for name, tensor in state.items():
            assert type(tensor) is Tensor, name
            assert not tensor.requires_grad, name
            assert tensor.data_ptr() != model.state_dict()[name].data_ptr(), name
    assert int(outputs["sparse"]["1.num_batches_tracked"]) == 4 * STEPS
    assert int(outputs["dense"]["1.num_batches_tracked"]) == 3 * STEPS
    kept = {kind: {name: tensor.clone() for name, tensor in state.items()} for kind, state in outputs.items()}
    for state in outputs.values():  # whatever the caller does with them ...
        for tensor in state.values():
            tensor.zero_()
    for kind, state in method.outputs().items():  # ... the method has its own
        assert_same(state, kept[kind])
    train_epoch(model, optimizer, 9)
    assert_same(method.outputs()["dense"], kept["dense"])


def test_the_dense_baseline_has_a_dense_output_alone() -> None:
    model = small_net()
    method = Dense().attach(model, sgd(model))
    method.begin_epoch(0)
    assert method.outputs()["sparse"] is None
    assert_same(method.outputs()["dense"], copy_of(model))


# ---------------------------------------------------------------------------------------------------------- restarts


@pytest.mark.parametrize("name", ["sgd_momentum", "adamw", "adagrad"])
@pytest.mark.parametrize("stop", range(1, 8))
def test_a_restarted_run_is_bit_identical(stop: int, name: str) -> None:
    """Epochs 1 and 5 lie inside a dense phase, 3 and 7 inside a sparse one, the others at a phase's start."""

    def new_run(seed: int) -> tuple[nn.Module, Optimizer, ACDC]:
        model = small_net(seed)
        optimizer = OPTIMIZERS[name](model.parameters())
        return model, optimizer, ACDC(Timeline.of(PHASES), sparsity=0.5).attach(model, optimizer)

    model, optimizer, method = new_run(seed=0)
    changes = train(model, optimizer, method, range(stop))
    file = io.BytesIO()
    torch.save([part.state_dict() for part in (model, optimizer, method)], file)
    changes += train(model, optimizer, method, range(stop, 8))

    other = new_run(seed=7)
    file.seek(0)
    for part, state in zip(other, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    assert train(*other, range(stop, 8)) == changes[stop:]
    assert_same(copy_of(other[0]), copy_of(model))
    for kind in ("sparse", "dense"):
        assert_same(other[2].outputs()[kind], method.outputs()[kind])
    assert other[2].masks.digest() == method.masks.digest()


@pytest.mark.parametrize("epoch", range(8))
def test_beginning_an_epoch_twice_changes_nothing(epoch: int) -> None:
    model = small_net()
    optimizer = sgd(model)
    method = ACDC(Timeline.of(PHASES), sparsity=0.5).attach(model, optimizer)
    train(model, optimizer, method, range(epoch))
    method.begin_epoch(epoch)
    change, masks = method.mask_change, method.masks.digest() if method.masks else None
    backward(model, epoch, 0)
    optimizer.step()  # moves weights and moments, which a second pruning or reset would show
    optimizer.zero_grad()
    state, moments = copy_of(model), [s["momentum_buffer"].clone() for s in optimizer.state.values()]
    method.begin_epoch(epoch)
    assert_same(copy_of(model), state)
    kept = [s["momentum_buffer"] for s in optimizer.state.values()]
    assert all(torch.equal(*pair) for pair in zip(moments, kept, strict=True))
    assert (method.masks.digest() if method.masks else None) == masks
    assert method.mask_change == change


def test_a_weight_that_no_optimizer_holds_is_named() -> None:
    """And how many more there are, if there are."""
    layers = nn.ModuleList(row(1.0, 2.0) for _ in range(4))
    for held, named in (([0, 1, 3], "2.weight"), ([0, 3], "1.weight and 1 more"), ([3], "0.weight and 2 more")):
        optimizers = [torch.optim.SGD(layers[index].parameters(), lr=1.0) for index in held]
        with pytest.raises(ValueError, match=rf"^{named}: not among the optimizer's parameters; attach to all"):
            ACDC(Timeline.of(SHORT), sparsity=0.5).attach(layers, optimizers)


def test_mask_change_survives_a_restart() -> None:
    """2 of 4 as in ``test_mask_change_by_hand``: what a run that is stopped inside the epoch reports at its end."""
    layer = row(1.0, 2.0, 3.0, 4.0)
    method, _ = row_method(layer)
    for epoch in range(3):
        method.begin_epoch(epoch)
    set_row(layer, 4.0, 1.0, 3.0, 2.0)
    method.begin_epoch(3)
    other, _ = row_method(row(4.0, 0.0, 3.0, 0.0))
    other.load_state_dict(method.state_dict())
    assert other.mask_change == 0.5
    other.begin_epoch(3)
    assert other.mask_change == 0.5


def test_frozen_layers_are_left_alone() -> None:
    """What is pruned has to be able to come back; the count is over what is trained, 8 of 16."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD([model[1].weight], lr=0.1, momentum=0.9)
    method = ACDC(Timeline.acdc(epochs=2), sparsity=0.5).attach(model, optimizer)
    before = model[0].weight.clone()
    assert excluded(method.shares, "frozen") == ["0.weight"]
    for epoch in range(2):
        method.begin_epoch(epoch)
        model(torch.randn(8, 4)).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert int((model[1].weight == 0).sum()) == 8
    assert torch.equal(model[0].weight, before)


# ------------------------------------------------------------------------------------------------- attached to what?


def test_attached_again_it_begins_anew() -> None:
    """As Lightning's on_fit_start does with a second fit: the first run's masks must not go on."""
    model = small_net()
    optimizer = sgd(model)
    method = ACDC(Timeline.of(SHORT), sparsity=0.5).attach(model, optimizer)
    train(model, optimizer, method, range(4))
    method.attach(model, optimizer)
    assert method.masks is None
    train(model, optimizer, method, [0])
    assert int((model[5].weight == 0).sum()) == 0
    train(model, optimizer, method, [1])
    assert sum(int((model[layer].weight == 0).sum()) for layer in (0, 5)) == 52


def test_detached_and_attached_within_a_phase_it_needs_its_state() -> None:
    model = small_net()
    optimizer = sgd(model)
    method = ACDC(Timeline.of(PHASES), sparsity=0.5).attach(model, optimizer)
    train(model, optimizer, method, range(3))
    method.detach()
    with pytest.raises(RuntimeError, match="attach"):
        method.begin_epoch(3)
    method.attach(model, optimizer)
    with pytest.raises(RuntimeError, match=r"epoch 3 lies inside S\[2,4\): .*load_state_dict"):
        method.begin_epoch(3)


def test_an_optimizer_that_does_not_hold_the_weights_is_refused() -> None:
    model, other = small_net(), small_net(1)
    with pytest.raises(ValueError, match=r"0\.weight and 1 more: not among the optimizer's parameters"):
        ACDC(Timeline.of(SHORT), sparsity=0.5).attach(model, sgd(other))


def test_two_optimizers_are_both_held_and_reset() -> None:
    model = small_net()
    optimizers = [torch.optim.Adam(model[0].parameters(), lr=0.1), torch.optim.SGD(model[5].parameters(), 0.1, 0.9)]
    method = ACDC(Timeline.of(PHASES), sparsity=0.5).attach(model, optimizers)
    for epoch in range(5):
        method.begin_epoch(epoch)
        if epoch == 4:
            assert not any(optimizer.state for optimizer in optimizers)
        for index in range(STEPS):
            backward(model, epoch, index)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            if epoch in (2, 3):
                assert sum(int((model[layer].weight == 0).sum()) for layer in (0, 5)) == 52


@pytest.mark.parametrize("make", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_a_weight_that_is_computed_is_refused_by_name(make: Callable) -> None:
    model = nn.Sequential(nn.Linear(4, 4), make(nn.Linear(4, 4)))
    with pytest.raises(ValueError, match="1: its weight is computed"):
        ACDC(Timeline.of(SHORT), sparsity=0.5).attach(model, sgd(model))


def test_a_weight_without_a_shape_is_refused_by_name() -> None:
    model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(ValueError, match="0: its weight has no shape yet"):
        ACDC(Timeline.of(SHORT), sparsity=0.5).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_an_average_of_tied_weights_is_masked_under_both_names() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    optimizer = sgd(model)
    method = ACDC(Timeline.of(SHORT), sparsity=0.5).attach(model, optimizer)
    average = torch.optim.swa_utils.AveragedModel(model)
    method.begin_epoch(1)
    state = model_state(average, method.masks)
    assert [int((state[name] == 0).sum()) for name in ("0.weight", "1.weight")] == [8, 8]


def test_masks_of_another_model_are_refused() -> None:
    layer = row(1.0, 2.0)
    method, _ = row_method(layer)
    model = small_net()
    other = ACDC(Timeline.of(SHORT), sparsity=0.5).attach(model, sgd(model))
    with pytest.raises(ValueError, match="masks of other weights"):
        other.load_state_dict(method.state_dict())
