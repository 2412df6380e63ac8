"""Which file a run starts from, and the hash of its tensors. A safetensors file is read without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from acdc_cli.config.schema import Config, prunes_a_dense_run
from acdc_cli.errors import BadInput, DataMissing
from acdc_cli.parts import METHODS
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.tensor_header import StoredTensor, stored_tensors, whole_length_problem

HASH_LENGTH = 16


def locate_start(config: Config) -> Config:
    """A copy of the config in which ``start_from`` is an absolute path and its tensors' hash is known.

    Of the tensors and not of the file: the same weights can be written in more than one way.

    Raises:
        BadInput: if it is a folder that is no run, or a file without a state dict.
        DataMissing: if there is no such file, or the run has no such model (yet).
    """
    if config.start_from is None or config.start_from_hash is not None:
        return config
    config = replace(config, start_from=str(Path(config.start_from).expanduser().absolute()))
    return replace(config, start_from_hash=_hash_of(model_file(config)))


def _hash_of(path: Path) -> str:
    """The first digits of a SHA-256 over names, types, shapes and bytes of a file's tensors.

    Raises:
        BadInput, DataMissing: see ``weights_file.read_state``.
    """
    if path.suffix == ".safetensors" and whole_length_problem(path) is None:
        try:
            folder = RunFolder(path.parent.parent)
            if path.parent.name == "models":
                folder.sums.check(path, folder.remedy)
            return _digest(stored_tensors(path))
        except Damaged as error:
            raise DataMissing(f"start_from={error}") from None
        except (OSError, ValueError, KeyError):  # a type that torch may know, or what torch says best
            pass
    from acdc_cli.planning.weights_file import raw_tensors

    return _digest(raw_tensors(path))


def _digest(tensors: Iterable[StoredTensor]) -> str:
    """Return the first digits of a SHA-256 over tensors, which come in the order of their names."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.content)
    return digest.hexdigest()[:HASH_LENGTH]


def model_file(config: Config) -> Path:
    """The file that ``start_from`` means: itself, or a run's dense model; its sparse one where masks come from it.

    ``finetune_start=best``: the model of the run's best dense epoch.

    Raises:
        BadInput: for a folder that is no run, or a run whose method makes no dense model where one is needed.
        DataMissing: if there is no such file, or the run has no such model (yet).
    """
    path = Path(str(config.start_from))
    if path.is_dir():
        folder = RunFolder.open(path)
        needs_dense = prunes_a_dense_run(config)
        kinds = ("sparse",) if config.masks == "from_weights" else ("dense",) if needs_dense else ("dense", "sparse")
        making = [name for name in METHODS.names() if METHODS.part(name).facts.makes_dense_model] if needs_dense else []
        if needs_dense and folder.is_done and (method := folder.read_result()["method"]) not in making:
            raise BadInput(
                f"start_from={path}: method={method} makes no dense model, and method={config.method.name} prunes one; "
                f"use a run of {' or '.join(making)}, or drop start_from: the dense run is then made first"
            )
        if config.finetune is not None and config.finetune_start == "best":
            kinds = ("dense_best",)
        for kind in kinds:
            if (file := folder.model(kind)).is_file():
                return file
        raise DataMissing(f"start_from={path}: the run has no {kinds[0]} model (yet); its own command goes on with it")
    if not path.is_file():
        raise DataMissing(f"start_from={path}: there is no such file and no such run folder")
    return path


def goes_on_from_a_run(config: Config) -> bool:
    """Whether what a dense run has spent is part of this one's cost: what prunes it starts from it."""
    return prunes_a_dense_run(config) and Path(str(config.start_from)).is_dir()
