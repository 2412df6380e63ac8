"""The wheel, installed beside the dependencies, works in an empty folder without the repository."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.support import environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, built from a copy of the files that git does not ignore: no build/ of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    list_files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(list_files, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--quiet"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(wheel, check=True)
    (built,) = folder.glob("*.whl")
    target = folder / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(built)], check=True)
    return target


def run(installed: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment(PYTHONPATH=str(installed)),
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.exhaustive
def test_console_script_of_the_wheel_trains_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    script = str(installed / "bin" / "acdc-train")
    where = run(
        installed, tmp_path, "-c", "import acdc_cli.config.command_line as o; print(o.__file__, o.conf_dir())"
    ).stdout
    package = installed / "acdc_cli"
    assert where.split() == [str(package / "config" / "command_line.py"), str(package / "conf")]
    ended = run(installed, tmp_path, script, "epochs=2", "loader=device", "tracker=none", "threads=1")
    assert " sparse   0." in ended.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "runs"]
    plan = json.loads(run(installed, tmp_path, script, "plan=true", "model=resnet20").stdout)
    assert plan["prunable_weights"] == 268_336


@pytest.mark.parametrize("command", ["train", "data", "eval", "report", "doctor", "search"])
def test_every_command_is_a_console_script(installed: Path, command: str) -> None:
    listed = configparser.ConfigParser()
    listed.read(ROOT / "setup.cfg")
    scripts = listed["options.entry_points"]["console_scripts"].split("\n")
    assert f"acdc-{command} = acdc_cli.commands.{command}:main" in scripts
    assert len([*filter(None, scripts)]) == 6 and (installed / "bin" / f"acdc-{command}").is_file()


def test_every_package_and_every_yaml_file_is_in_the_wheel(installed: Path) -> None:
    found = [path for folder in ("acdc_cli", "hydra_plugins") for path in (ROOT / folder).rglob("__init__.py")]
    packages = {path.parent.relative_to(ROOT) for path in found}
    listed = configparser.ConfigParser()
    listed.read(ROOT / "setup.cfg")
    names = listed["options"]["packages"].split()
    assert {str(path).replace("/", ".") for path in packages} | {"acdc_cli.conf"} == set(names)
    shipped = {path.relative_to(installed / "acdc_cli") for path in (installed / "acdc_cli").rglob("*.yaml")}
    of_conf = {path.relative_to(ROOT) for path in (ROOT / "conf").rglob("*.yaml")}
    assert shipped == of_conf | {path.relative_to(ROOT / "acdc_cli") for path in (ROOT / "acdc_cli").rglob("*.yaml")}
