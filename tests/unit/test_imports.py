"""The sparsity package can be lifted out: it needs torch and nothing else of the project."""

from __future__ import annotations

import subprocess
import sys


def test_sparsity_loads_no_other_part_of_the_project() -> None:
    code = "import sys, acdc_cli.sparsity; print(*(name for name in sys.modules if name.split('.')[0] == 'acdc_cli'))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "acdc_cli.sparsity" in loaded
    assert {name for name in loaded if name != "acdc_cli" and not name.startswith("acdc_cli.sparsity")} == set()


def test_the_top_level_package_loads_no_torch() -> None:
    """`acdc-train --help` and tab completion stay quick."""
    code = "import sys, acdc_cli; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
