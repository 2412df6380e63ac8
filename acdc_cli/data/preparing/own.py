"""Data of the user's own: which content ``dataset.source`` has, and in which folder it lies prepared.

The SHA-256 of the content names the prepared folder, DATA_DIR/NAME-HASH8, and enters a run's id; the path does not.
Reading everything anew at each start would take too long for a large tree. DATA_DIR/.sources therefore keeps each
hash together with the sizes and modification times of the files that it was made of.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from acdc_cli.data.dataset import Dataset, array_hash, joined_hash, prepare_command, read_dataset
from acdc_cli.data.image_files import read_tree
from acdc_cli.data.preparing.prepare import class_count, owned, usual_place
from acdc_cli.data.preparing.prepare_images import check_tree, content_of_tree
from acdc_cli.data.source import SPLITS, Arrays, Source, is_own, source_of
from acdc_cli.errors import AcdcError, DataMissing
from acdc_cli.parts import DATASETS
from acdc_cli.records.files import read_object
from acdc_cli.system.files import canonical_sum, replace_json
from acdc_cli.system.processors import cores

HASHES = ".sources"  # in DATA_DIR
KNOWN = "content.json"
HEX_DIGITS = 8  # of the hash, in a folder's name


def content_keys_of(name: str, options: Any) -> dict[str, Any]:
    """Return the keys that decide, with the files, what the samples are; without ``source``."""
    return {key: getattr(options, key) for key in DATASETS.part(name).facts.content_keys if key != "source"}


def locate_own_data(name: str, options: Any, data_dir: str | Path) -> tuple[Path, str | None]:
    """Find out which content a data set has, and the folder that it is, or will be, prepared in.

    With ``dataset.source`` that is DATA_DIR/NAME-HASH8. Without it, what lies prepared in DATA_DIR/NAME is taken, and
    else the files in the set's usual place.

    Args:
        name: of the data set.
        options: its own keys.
        data_dir: of the run.

    Returns:
        The folder, and the content hash that the run's id is made with; None: the set is not one of the user's own.

    Raises:
        DataMissing: if there are no such data, or they cannot be read.
        BadInput: for keys that do not fit the data.
    """
    if not is_own(name):
        return Path(data_dir) / name, None
    if options.source is None and (dataset := _prepared_by_hand(name, options, data_dir)) is not None:
        return dataset.folder, dataset.info["content_hash"]
    content_hash = _content_hash(name, options, place_of(name, options), Path(data_dir))
    return folder_of(name, content_hash, data_dir), content_hash


def folder_of(name: str, content_hash: str, data_dir: str | Path) -> Path:
    """Return the folder that content of the user's own is prepared in."""
    return Path(data_dir) / f"{name}-{content_hash[:HEX_DIGITS]}"


def place_of(name: str, options: Any) -> Path:
    """Return the folder or file that ``dataset.source`` names, or the set's usual place.

    Raises:
        DataMissing: if nothing is there.
    """
    if options.source is None:
        return usual_place(name, options.origin())
    place = Path(options.source).expanduser()
    if not place.exists():
        raise DataMissing(f"dataset.source={options.source}: there is no such file or folder")
    return place


def _prepared_by_hand(name: str, options: Any, data_dir: str | Path) -> Dataset | None:
    """Return what ``acdc-data prepare NAME`` has made in DATA_DIR/NAME, if it was made with the same keys."""
    folder = Path(data_dir) / name
    if not (folder / "dataset.json").is_file():
        return None
    dataset, asked = read_dataset(folder), content_keys_of(name, options)
    if dataset.name == name and all(asked[key] == value for key, value in dataset.content_keys.items()):
        return dataset
    if (place := options.origin().place) is not None and place.exists():
        return None
    changed = {key: value for key, value in asked.items() if dataset.content_keys.get(key, value) != value}
    words = ", ".join(f"dataset.{key}={'null' if value is None else value}" for key, value in changed.items())
    again = prepare_command(name, dataset.info["source"], folder, None, asked)
    raise DataMissing(f"{folder}: was prepared with other keys than {words}; prepare it again: {again}")


def known_folder(name: str, options: Any, data_dir: str | Path) -> Path | None:
    """Return the folder of content whose hash is known without reading it; None: it has to be read."""
    if options.source is None and (dataset := _prepared_by_hand(name, options, data_dir)) is not None:
        return dataset.folder
    place = place_of(name, options)
    state = _state(place, _listed(name, options, place))
    known = _known(_note(name, options, place, Path(data_dir)), state)
    return None if known is None else folder_of(name, known, data_dir)


def _note(name: str, options: Any, place: Path, data_dir: Path) -> Path:
    """The folder in which the hash of a place's content is kept."""
    key = canonical_sum([str(place.resolve()), content_keys_of(name, options)])
    return data_dir / HASHES / f"{name}-{key[:HEX_DIGITS]}"


def journals_of(name: str, options: Any, data_dir: str | Path) -> Path:
    """Return the folder in which the journals of image files lie that were read for their hash."""
    return _note(name, options, place_of(name, options), Path(data_dir))


def _listed(name: str, options: Any, place: Path) -> list[Path]:
    """Every file that the content depends on, in a fixed order."""
    data = options.origin().data
    if isinstance(data, Arrays):
        assert data.files is not None, "data of the user's own say which files they are in"
        return data.files(place)
    files = read_tree(place.resolve(), prepare_command(name, place, Path("DIR"), None), data.split)
    return [files[split].root / path for split in SPLITS for path in files[split].paths]


def _state(place: Path, files: list[Path]) -> str:
    """What shows that none of the files has been changed: SHA-256 of their names, sizes and modification times."""
    digest = hashlib.sha256()
    root = place.resolve()
    for path in files:
        try:
            status = os.stat(path)
        except OSError as error:
            raise DataMissing(f"{path}: {error.strerror}") from None
        name = os.path.relpath(path, root).encode(errors="surrogateescape")
        digest.update(name + f"\t{status.st_size}\t{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _known(note: Path, state: str) -> str | None:
    with suppress(AcdcError):
        known = read_object(note / KNOWN, {"state": str, "content_hash": str})
        if known["state"] == state:
            content_hash: str = known["content_hash"]
            return content_hash
    return None


def _content_hash(name: str, options: Any, place: Path, data_dir: Path) -> str:
    origin: Source = options.origin()
    state, note = _state(place, _listed(name, options, place)), _note(name, options, place, data_dir)
    if (known := _known(note, state)) is not None:
        return known
    with owned(note):
        if (known := _known(note, state)) is not None:
            return known  # another process has read it meanwhile
        data = origin.data
        if isinstance(data, Arrays):
            samples = data.read(place)
            content_hash = joined_hash(array_hash(samples[split]) for split in SPLITS)
        else:
            listed = read_tree(place.resolve(), prepare_command(name, place, Path("DIR"), None), data.split)
            content_hash = content_of_tree(check_tree(listed, note, data.write, cores()))
        replace_json(note / KNOWN, {"state": state, "content_hash": content_hash, "source": str(place.resolve())})
    return content_hash


def own_facts(
    name: str, options: Any, data_dir: str | Path, content_hash: str | None
) -> tuple[tuple[int, int, int], int, int]:
    """Return sample shape, classes and number of training samples of data of the user's own, without preparing them.

    Args:
        content_hash: as a settled config has it; None: not known yet.

    Raises:
        DataMissing: if there are no such data, or they cannot be read.
    """
    if content_hash is None:
        folders = [known_folder(name, options, data_dir)]
    else:
        folders = [folder_of(name, content_hash, data_dir), Path(data_dir) / name]
    for folder in folders:
        with suppress(DataMissing):
            if folder is not None:
                there = read_dataset(folder)
                if content_hash in (None, there.info["content_hash"]):
                    return there.sample_shape, there.classes, there.count("train")
    place = place_of(name, options)
    keys = tuple(content_keys_of(name, options).items())
    return _read_facts(name, place, keys, _state(place, _listed(name, options, place)))


@lru_cache(maxsize=8)
def _read_facts(
    name: str, place: Path, keys: tuple[tuple[str, Any], ...], state: str
) -> tuple[tuple[int, int, int], int, int]:
    """What the files themselves say. ``state`` keeps an answer for as long as they are unchanged."""
    origin = source_of(name, dict(keys))
    data = origin.data
    if isinstance(data, Arrays):
        samples = data.read(place)
        height, width, channels = samples["train"].images.shape[1:]
        classes = origin.classes or class_count(samples)
        return (channels, height, width), classes, len(samples["train"].labels)
    assert origin.sample_shape is not None, "a set of image files has a usual resolution"
    train = read_tree(place.resolve(), prepare_command(name, place, Path("DIR"), None), data.split)["train"]
    return origin.sample_shape, len(train.class_names), len(train.paths)
