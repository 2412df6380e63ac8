"""What the two-rank tests share: photographs, and runs that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.image_tree import write_image_tree
from torchrun_job import DIGITS, finished

from acdc_cli.data.preparing.prepare import prepare


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data_dir with 3 photographs' crops, 15 training and 7 validation images of each: odd numbers, to two ranks."""
    folder = tmp_path_factory.mktemp("photographs")
    tree = write_image_tree(folder / "tree", train=15, val=7, classes=3)
    prepare("imagenet", tree, folder / "data" / "imagenet", workers=1)
    return folder / "data"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """The runs_dir of a two-rank run on the digits."""
    runs = tmp_path_factory.mktemp("undisturbed")
    ended = finished(*DIGITS, f"data_dir={data_dir}", f"runs_dir={runs}")
    assert ended.code == 0, ended.errors
    return runs
