"""Reading a prepared data set again and comparing it with its dataset.json."""

from __future__ import annotations

import tempfile
from pathlib import Path

from acdc_cli.data.beton.index import read_index
from acdc_cli.data.beton.writer import file_hash
from acdc_cli.data.dataset import Dataset, array_hash
from acdc_cli.data.preparing.image_check import check_images, content_hash
from acdc_cli.data.source import SPLITS
from acdc_cli.errors import DataMissing
from acdc_cli.system.processors import cores
from acdc_cli.system.progress import stage


def check(dataset: Dataset, read_images: bool = False) -> list[str]:
    """Compare everything with dataset.json.

    Args:
        read_images: read every image file of the source too, not only whether it is there; without .beton files this
            is always done.

    Returns:
        One line per fault; empty if all is as it was written.
    """
    betons = dataset.info["beton_bytes"] is not None
    faults = [fault for split in SPLITS if (fault := _beton_fault(dataset, split))] if betons else []
    if dataset.kind == "files":
        return faults + _source_faults(dataset, read_images or not betons)
    if not betons:
        try:
            dataset.read_source()
        except DataMissing as error:
            faults.append(str(error))
    return faults


def _beton_fault(dataset: Dataset, split: str) -> str | None:
    path = dataset.beton(split)
    size = path.stat().st_size if path.is_file() else None
    if size != dataset.info["beton_bytes"][split]:
        return f"{path}: {size} bytes, dataset.json says {dataset.info['beton_bytes'][split]}"
    if file_hash(path) != dataset.info["beton_sha256"][split]:
        return f"{path}: not the bytes that were written"
    try:
        read_index(path, dataset.classes, dataset.count(split), dataset.index_sum(split))
    except DataMissing as error:  # the sums of dataset.json do not go together
        return str(error)
    if dataset.kind == "arrays":
        from acdc_cli.data.loading.ffcv_loader import read_beton

        if array_hash(read_beton(path)) != dataset.info[split]["content_sha256"]:
            return f"{path}: its samples are not those that were written"
    return None


def _source_faults(dataset: Dataset, read_images: bool) -> list[str]:
    """The list of samples is part of the set; the source may be gone once there are .beton files."""
    if dataset.info["beton_bytes"] is not None and not dataset.images_root.is_dir() and not read_images:
        return []
    try:
        listed = dataset.read_files()
    except DataMissing as error:
        return [str(error)]
    if not read_images:
        return []
    faults = []
    for split, files in listed.items():
        with tempfile.TemporaryDirectory() as folder, stage(f"reading {split} images", len(files.paths)) as advance:
            facts = check_images(files, Path(folder) / "checked", cores(), advance)
        if content_hash(files, facts) != dataset.info[split]["content_sha256"]:
            damaged = [f"{one.path} ({one.problem})" for one in facts if one.problem]
            what = f"unreadable now: {', '.join(damaged[:5])}" if damaged else "not the files that were prepared"
            faults.append(f"{files.root / split}: {what}")
    return faults
