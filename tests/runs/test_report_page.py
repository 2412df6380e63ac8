"""report.html in a real browser: it draws, and nothing in it fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.training import train
from PIL import Image

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--window-size=1060,1700",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        pytest.param(["method=dense"], marks=pytest.mark.exhaustive),
        pytest.param(["epochs=2"], marks=pytest.mark.exhaustive),
    ],
    ids=["acdc", "dense", "one sparse phase"],
)
def test_the_page_renders_in_a_browser(overrides: list[str], tmp_path: Path, data_dir: Path) -> None:
    if BROWSER is None:
        pytest.skip("no chromium on this machine")
    run = train(tmp_path, data_dir, *overrides)
    picture = tmp_path / "page.png"
    browse = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}"]
    log = tmp_path / "browser.log"
    with log.open("w") as file:
        subprocess.run(
            [*browse, run.report.resolve().as_uri()], stdout=file, stderr=file, check=True, timeout=120,
            env=os.environ | {"HOME": str(tmp_path)},
        )  # fmt: skip
    assert "CONSOLE" not in log.read_text()  # a script or a reference that failed would be logged
    image = Image.open(picture).convert("RGB")
    colors = {color for _, color in image.getcolors(maxcolors=2**24)}
    dense, sparse = (47, 111, 176), (200, 100, 30)  # the colours of the two kinds of phase
    assert dense in colors
    assert (sparse in colors) == (overrides != ["method=dense"])
