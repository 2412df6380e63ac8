"""start_from: weights in whatever form training programs leave them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schema import Config
from acdc_cli.errors import BadInput, DataMissing
from acdc_cli.models.build import build_model
from acdc_cli.models.inputs import ImageInputs
from acdc_cli.planning.start import load_start
from acdc_cli.planning.start_file import locate_start


def model_of(seed: int, classes: int = 10) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(compose_config([]).model, ImageInputs(1, 32, 32, classes))


def config_from(path: Path) -> Config:
    return locate_start(compose_config([f"start_from={path}"]))


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


FORMS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda state: state,
    "PyTorch's ImageNet example": lambda state: {
        "epoch": 3,
        "state_dict": prefixed(state, "module."),
        "best_acc1": 0.5,
    },
    "torchvision's references": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
    "timm": lambda state: {"epoch": 1, "arch": "resnet8", "state_dict": state, "version": 2},
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "compiled, then parallel": lambda state: prefixed(state, "module._orig_mod."),
    "parallel, then compiled": lambda state: prefixed(state, "_orig_mod.module."),
    "our own checkpoint": lambda state: {"run_id": "0", "run": {"model": state, "optimizer": {}, "rows": []}},
    "a LightningModule": lambda state: {"state_dict": prefixed(state, "network."), "epoch": 1},
    "one layer compiled": lambda state: {n.replace("layer1.0.", "layer1.0._orig_mod."): t for n, t in state.items()},
    "with other things in it": lambda state: state | {"epoch": 3},
    "before batch counters": lambda state: {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_weights(form: str, tmp_path: Path) -> None:
    trained, fresh = model_of(1), model_of(2)
    torch.save(FORMS[form](trained.state_dict()), tmp_path / "model.pt")
    load_start(fresh, config_from(tmp_path / "model.pt"))
    for name, tensor in trained.named_parameters():
        assert torch.equal(tensor, fresh.get_parameter(name)), name


def test_a_safetensors_file(tmp_path: Path) -> None:
    trained, fresh = model_of(1), model_of(2)
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    load_start(fresh, config_from(tmp_path / "model.safetensors"))
    assert torch.equal(trained.fc.weight, fresh.fc.weight)


def test_the_id_knows_the_content_and_not_the_place(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / folder).mkdir()
        save_file(model_of(seed).state_dict(), tmp_path / folder / "model.safetensors")
    hashes = [config_from(tmp_path / folder / "model.safetensors").start_from_hash for folder in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_another_models_weights_are_refused_with_the_difference(tmp_path: Path) -> None:
    save_file(model_of(1, classes=7).state_dict(), tmp_path / "seven.safetensors")
    with pytest.raises(BadInput, match=r"fc.weight is \(7, 128\) and should be \(10, 128\)"):
        load_start(model_of(2), config_from(tmp_path / "seven.safetensors"))
    torch.save({"fc.weight": torch.zeros(10, 128), "head.bias": torch.zeros(1)}, tmp_path / "part.pt")
    with pytest.raises(BadInput, match=r"it lacks conv1\.weight, .* and \d+ more; it has head\.bias"):
        load_start(model_of(2), config_from(tmp_path / "part.pt"))


@pytest.mark.parametrize("content", [{"weights": [1, 2]}, [1, 2], {}], ids=str)
def test_a_file_without_a_state_dict_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(BadInput, match="state dict"):
        load_start(model_of(1), config_from(tmp_path / "odd.pt"))


@pytest.mark.parametrize("content", [b"", b"not a model"], ids=["empty", "text"])
@pytest.mark.parametrize("name", ["broken.pt", "broken.safetensors"])
def test_an_unreadable_file_is_missing_data(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataMissing, match=name):
        config_from(tmp_path / name)


def test_the_hash_is_of_the_tensors_and_not_of_the_file(tmp_path: Path) -> None:
    state = model_of(1).state_dict()
    save_file(state, tmp_path / "a.safetensors", {"format": "pt"})
    save_file(state, tmp_path / "b.safetensors", {"format": "pt", "input": "other"})
    hashes = {config_from(tmp_path / name).start_from_hash for name in ("a.safetensors", "b.safetensors")}
    assert len(hashes) == 1


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"state_dict": Malicious()}, tmp_path / "model.pt")
    with pytest.raises(DataMissing):
        load_start(model_of(1), config_from(tmp_path / "model.pt"))
    assert not (tmp_path / "executed").exists()


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="there is no such file"):
        config_from(tmp_path / "nowhere.pt")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a run folder"):
        config_from(tmp_path)


def test_the_hash_of_a_safetensors_file_is_that_of_its_tensors_however_they_are_read(tmp_path: Path) -> None:
    """The same tensors in a file that torch reads, and in one that is read without torch."""
    model = model_of(0)
    state = model.state_dict() | {"half": torch.ones(2, 3, dtype=torch.bfloat16), "flag": torch.tensor([True, False])}
    state["scalar"] = torch.tensor(7)
    torch.save(state, tmp_path / "weights.pt")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "weights.safetensors")
    found = {
        locate_start(compose_config([f"start_from={tmp_path / name}"])).start_from_hash
        for name in ("weights.pt", "weights.safetensors")
    }
    assert len(found) == 1
