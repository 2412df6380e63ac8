"""Plug-ins: what they may do, how they fail, and that a run folder imports none."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.parts import own_parts
from helpers.support import Command

from acdc_cli.records.folder import RunFolder, run_folders

MODEL = """from dataclasses import dataclass
from torch import nn
import acdc_cli

@acdc_cli.register_model("flat")
@dataclass(kw_only=True)
class Flat:
    hidden: int = acdc_cli.number(1)

    def build(self, inputs):
        size = inputs.channels * inputs.height * inputs.width
        hidden, classes = nn.Linear(size, self.hidden), nn.Linear(self.hidden, inputs.classes)
        return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), classes)
"""
RUN = [
    "--config-dir",
    "conf",
    "plugins=[./flat.py]",
    "model=flat",
    "epochs=2",
    "loader=device",
    "tracker=none",
    "threads=1",
]


@pytest.fixture(autouse=True)
def forgotten(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "flat.yaml").write_text("name: flat\nhidden: 12\n")
    (tmp_path / "flat.py").write_text(MODEL)
    with own_parts():
        yield


def one_run(tmp_path: Path) -> RunFolder:
    (run,) = run_folders(tmp_path / "runs")
    return run


def test_a_model_of_ones_own_trains_and_its_file_is_on_record(program: Command, tmp_path: Path) -> None:
    """64 * 12 + 12 * 10 weights."""
    ended = program(*RUN, f"data_dir={tmp_path / 'data'}")
    assert ended.returncode == 0, ended.stderr
    result = one_run(tmp_path).read_result()
    assert result["prunable_weights"] == 888 and result["model"] == "flat"
    digest = hashlib.sha256(MODEL.encode()).hexdigest()
    assert result["plugins"] == [{"name": "./flat.py", "file": str(tmp_path / "flat.py"), "sha256": digest}]
    assert digest in one_run(tmp_path).report.read_text()


def test_the_id_knows_the_parts_name_and_not_the_plug_in(program: Command, tmp_path: Path) -> None:
    """The same model, registered by another file, is the same run: it is found done."""
    with own_parts():
        assert program(*RUN).returncode == 0
    with own_parts():
        (tmp_path / "elsewhere.py").write_text(MODEL + "# changed\n")
        again = program(*[word.replace("./flat.py", "elsewhere.py") for word in RUN])
    assert again.returncode == 0 and "epoch" not in again.stderr
    one_run(tmp_path)


def test_a_module_and_the_environment(program: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "my_lab"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "flat.py").write_text(MODEL)
    monkeypatch.setenv("ACDC_PLUGINS", "my_lab.flat")
    try:
        planned = program(*[word for word in RUN if not word.startswith("plugins")], "plan=true")
    finally:
        for name in [name for name in sys.modules if name.startswith("my_lab")]:
            del sys.modules[name]
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["prunable_weights"] == 888


FAULTS = {
    "missing": (None, r"plugins=\[faulty\.py\]: there is no such file in .*; give its path from there$"),
    "syntax": (
        "import acdc_cli\n\ndef build(:\n",
        r"plugins=\[.*\]: cannot be imported: .*faulty\.py, line 3: SyntaxError: ",
    ),
    "import": ("import acdc_cli\nimport no_such_thing\n", r"faulty\.py, line 2: ModuleNotFoundError: No module named"),
    "raises": ("\n\n\nraise RuntimeError('no\\nGPU')\n", r"faulty\.py, line 4: RuntimeError: no$"),
    "exits": ("import sys\nsys.exit(3)\n", r"faulty\.py, line 2: SystemExit: 3$"),
    "taken": (
        MODEL.replace('"flat"', '"resnet50"'),
        r"faulty\.py, line 5: register_model\('resnet50'\): the name is taken",
    ),
    "lacks": (
        MODEL.replace("def build", "def make"),
        r"faulty\.py, line 5: register_model\('flat'\): Flat lacks the function build",
    ),
    "fact": (
        MODEL.replace('"flat"', '"flat", is_big=True'),
        r"faulty\.py, line 5: .*no fact is called is_big; did you mean is_library\?",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_plug_in_that_fails_is_one_line(fault: str, program: Command, tmp_path: Path) -> None:
    text, said = FAULTS[fault]
    if text is not None:
        (tmp_path / "faulty.py").write_text(text)
    ended = program("plugins=[faulty.py]", "epochs=2")
    assert ended.returncode == 2 and ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert re.search(said, line), line
    assert not (tmp_path / "runs").exists()


def test_a_run_folder_imports_nothing_by_itself(program: Command, command: Command, tmp_path: Path) -> None:
    assert program(*RUN).returncode == 0
    run, plugin = str(one_run(tmp_path).path), tmp_path / "flat.py"
    plugin.write_text(MODEL + f"open({str(tmp_path / 'imported')!r}, 'w').close()\n")
    for line in (["acdc-report", run], ["acdc-eval", run]):
        ended = command(*line)
        assert not (tmp_path / "imported").exists()
        if line[0] == "acdc-eval":
            assert ended.returncode == 2
            assert re.search(r"model=flat is a plug-in's.*add --plugin \./flat\.py$", ended.stderr.strip())
    ended = command("acdc-eval", "--plugin", "./flat.py", run, "--json")
    assert ended.returncode == 0 and (tmp_path / "imported").exists(), ended.stderr
    sparse = one_run(tmp_path).read_result()["sparse"]
    assert json.loads(ended.stdout)["val_loss"] == pytest.approx(sparse["val_loss"], abs=1e-9)


def test_installed_packages_announce_themselves(tmp_path: Path) -> None:
    """By the entry-point group, as an installed distribution's metadata has it."""
    (tmp_path / "announced.py").write_text(MODEL)
    info = tmp_path / "announced-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: announced\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[acdc_cli.plugins]\nflat = announced\n")
    code = (
        "from acdc_cli.plugins import load_announced_plugins; from acdc_cli.parts import MODELS; "
        "load_announced_plugins(); print(MODELS.part('flat').file)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "announced.py")
