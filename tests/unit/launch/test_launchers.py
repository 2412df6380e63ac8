"""Our launchers and our sweeper as plug-ins that Hydra knows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from acdc_cli.launch.launchers import LAUNCHERS, register_launchers

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_has_the_keys_of_the_plug_in_that_it_stands_for(name: str) -> None:
    """Known from the plug-ins' documentation: the number of processes, and what a cluster is asked for."""
    register_launchers()
    node = ConfigStore.instance().load(f"hydra/launcher/{name}.yaml").node
    module, _, word = node["_target_"].rpartition(".")
    assert [each.__name__ for each in Plugins.instance().discover() if each.__module__ == module].count(word) == 1
    known = {"joblib": "n_jobs", "submitit_local": "timeout_min", "submitit_slurm": "partition"}
    assert name not in known or known[name] in node


def test_registering_twice_changes_nothing() -> None:
    register_launchers()
    before = ConfigStore.instance().load("hydra/launcher/basic.yaml").node
    register_launchers()
    assert ConfigStore.instance().load("hydra/launcher/basic.yaml").node == before


def test_another_program_that_uses_hydra_keeps_its_own_launchers(tmp_path: Path) -> None:
    """Hydra imports what lies in the package hydra_plugins, whoever has put it there."""
    program = (
        "import sys; from hydra.core.plugins import Plugins; from hydra.core.config_store import ConfigStore; "
        "Plugins.instance(); print(ConfigStore.instance().load('hydra/launcher/basic.yaml').node['_target_']); "
        "print(*(name for name in sys.modules if name.startswith(('acdc_cli', 'hydra_plugins.acdc'))))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    launcher, *loaded = done.stdout.split()
    assert launcher == "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
    assert set(loaded) <= {"hydra_plugins.acdc_launchers"}
    assert done.stderr == ""


def test_nothing_of_hydra_is_patched_or_private() -> None:
    for folder in ("acdc_cli", "hydra_plugins"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            assert "hydra._internal" not in text and "class_name_to_class" not in text, path
