"""The photographs that the runs on image files share."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.image_tree import write_image_tree

from acdc_cli.data.preparing.prepare import prepare


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data_dir with 4 photographs' crops, 60 training and 30 validation images of each."""
    folder = tmp_path_factory.mktemp("images")
    tree = write_image_tree(folder / "tree", train=60, val=30, classes=4)
    prepare("imagenet", tree, folder / "data" / "imagenet", workers=1)
    return folder / "data"
