"""Mutation testing: do the unit tests notice when a line of the core is changed?

    python -m pip install mutmut      # 3.8 or newer; the project itself does not need it
    python scripts/mutation_sample.py                       # 400 mutants of sparsity/ and measure/, about an hour
    python scripts/mutation_sample.py --sample 1000 --only acdc_cli/sparsity/topk.py

A mutant is one of the two packages' files with one small change, made by mutmut's own operators (``<`` becomes ``<=``,
``+`` becomes ``-``, an argument is left out, a value becomes None, ...) and one more, a statement that is left out. It
is killed if one of the unit tests of its file fails, ends in an error or hangs, and survives if all of them pass.

mutmut's own runner leaves out every decorated function and cannot be told which tests belong to a file, so the runner
is here: a process that has imported PyTorch and pytest forks a child for each mutant, and the child imports the changed
file in place of the real one. Nothing on disk is changed. Annotations, docstrings, imports and the texts of errors are
not mutated. docs/testing.md has the results and what survives for a reason.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib.abc
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch._dynamo  # which the first optimizer would import in every child

try:
    import libcst
    from mutmut.mutation.mutators import mutation_operators
except ImportError as error:
    sys.exit(f"{error}; run: {sys.executable} -m pip install 'mutmut>=3.8'")

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "tests" / "unit"
MUTATED = ("acdc_cli/sparsity", "acdc_cli/measure")
# The unit tests of a file are tests/unit/test_FILE.py where that exists, and these; the quickest come first.
MOVING = "snip set rigl iht gmp fixed_masks flops_of_methods"
TESTS_OF = {
    "allocate": "erk blocks patterns rules",
    "select": "blocks patterns erk gmp",
    "target": "allocate patterns rules fixed_masks gmp rigl",
    "rules": "allocate prunable",
    "prunable": "rules library_models",
    "pick": "set rigl gmp fixed_masks",
    "masks": "acdc",
    "topk": "topk_chunks",
    "timeline": "timeline_text",
    "window": "rigl set gmp iht",
    "gradual": "gmp blocks woodfisher",
    "method": f"acdc dsd {MOVING}",
    "hooks": f"acdc steps_of_others {MOVING} every_method",
    "moving": f"{MOVING} woodfisher steps_of_others every_method",
    "covered": f"rules acdc {MOVING} steps_of_others every_method",
    "fisher": "woodfisher",
    "fisher_estimate": "fisher woodfisher",
    "fisher_memory": "fisher woodfisher",
    "fisher_sample": "fisher woodfisher every_method",
    "dropout_kl": "sparse_vd",
    "noisy_layers": "sparse_vd every_method",
    "dense": "acdc",
    "fixed": "fixed_masks flops_of_methods every_method",
    "gmp": "flops_of_methods",
    "iht": "flops_of_methods",
    "rigl": "set fixed_masks flops_of_methods",
    "acdc": "every_method",
    "dsd": "every_method",
    "static": "fixed_masks",
    "soft_threshold": "flops_of_methods every_method",
    "top_kast": "flops_of_methods every_method",
    "variational": "sparse_vd flops_of_methods every_method",
    "woodfisher": "flops_of_methods every_method",
    "flops": "flops_of_methods erk prunable",
    "memory": "peak_memory",
}


@dataclass(frozen=True)
class Mutant:
    """One changed file: its source, and the change as a diff."""

    file: str
    line: int
    operator: str
    source: str
    diff: str


class Mutations(libcst.CSTVisitor):
    """Collect (node, changed node, operator's name) for all of a module that is worth changing."""

    def __init__(self) -> None:
        self.found: list[tuple[libcst.CSTNode, libcst.CSTNode, str]] = []

    def on_visit(self, node: libcst.CSTNode) -> bool:
        """Note the node's mutations; says whether to look inside it."""
        if isinstance(node, (libcst.Annotation, libcst.Raise, libcst.Import, libcst.ImportFrom)):
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                name = getattr(operator, "__name__", "").removeprefix("operator_")
                self.found += [(node, changed, name) for changed in operator(node)]
        if isinstance(node, libcst.SimpleStatementLine) and isinstance(node.body[0], libcst.Expr):
            self.found.append((node, node.with_changes(body=[libcst.Pass()]), "statement_removal"))
        return True


def mutants_of(file: str) -> Iterator[Mutant]:
    """All mutants of a file that Python reads as another program."""
    source = (ROOT / file).read_text()
    module = libcst.parse_module(source)
    mutations, seen = Mutations(), {_program(source)}
    module.visit(mutations)
    for node, changed, operator in mutations.found:
        mutated = module.deep_replace(node, changed).code
        try:
            program = _program(mutated)
        except SyntaxError:
            continue
        if program in seen:
            continue
        seen.add(program)
        lines = list(difflib.unified_diff(source.splitlines(), mutated.splitlines(), lineterm="", n=0))
        yield Mutant(file, int(lines[2].split()[1][1:].split(",")[0]), operator, mutated, "\n".join(lines[3:]))


def _program(source: str) -> str:
    """What Python makes of a source: equal for two that differ in comments and docstrings alone."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body[0].value.value = "" if isinstance(body[0].value.value, str) else body[0].value.value
    return ast.dump(tree)


@cache
def tests_of(file: str) -> tuple[str, ...]:
    """Paths of a file's unit tests."""
    stem = Path(file).stem
    names = [stem, *TESTS_OF.get(stem, "").split()]
    paths = [UNIT / f"test_{name}.py" for name in dict.fromkeys(names)]
    found = tuple(str(path) for path in paths if path.is_file())
    if not found:
        sys.exit(f"{file}: no unit tests; name them in TESTS_OF of {Path(__file__).name}")
    return found


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from another source than its file's."""

    def __init__(self, file: str, source: str) -> None:
        self.path, self.source = ROOT / file, source
        self.name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Only for that module."""
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def create_module(self, spec: object) -> None:
        """As Python does it."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed source."""
        exec(compile(self.source, str(self.path), "exec"), module.__dict__)


def passes(tests: tuple[str, ...], changed: Changed | None, timeout_s: float) -> tuple[str, float]:
    """Run tests in a child: ``passed``, ``failed`` or ``timeout``, and the seconds that it took."""
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.setpgid(0, 0)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
            if changed is not None:
                sys.meta_path.insert(0, changed)
            code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:terminal", *tests])
            os._exit(0 if code == 0 else 1)
        os._exit(1)
    while (finished := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() - start > timeout_s:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "timeout", time.monotonic() - start
        time.sleep(0.02)
    return "passed" if finished[1] == 0 else "failed", time.monotonic() - start


def warm_up(tests: set[str]) -> None:
    """Import what the tests need, once; then forget the program and the tests, so that each child imports its own."""
    torch.set_num_threads(1)
    sys.path[:0] = [str(ROOT)]
    os.chdir(ROOT)
    if pytest.main(["--collect-only", "-q", "-q", "-p", "no:cacheprovider", *sorted(tests)]) != 0:
        sys.exit("the unit tests cannot be collected")
    here = (str(ROOT / "acdc_cli"), str(ROOT / "tests"))
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(here):
            del sys.modules[name]


def main() -> None:
    """Sample, run, print what survived and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=400, help="mutants, of all files together")
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--only", nargs="*", default=[], help="of the sample, the mutants of these files alone")
    parser.add_argument("--results", type=Path, help="add a JSON line a mutant to this file, and skip those it has")
    options = parser.parse_args()
    files = sorted(str(path.relative_to(ROOT)) for folder in MUTATED for path in (ROOT / folder).rglob("*.py"))
    every = [mutant for file in files for mutant in mutants_of(file)]
    chosen = random.Random(options.seed).sample(every, min(options.sample, len(every)))
    chosen = sorted((each for each in chosen if not options.only or each.file in options.only), key=lambda m: m.file)
    print(f"{len(every)} mutants of {len(files)} files; sample of {options.sample}, seed {options.seed}: {len(chosen)}")
    done = {}
    if options.results is not None and options.results.is_file():
        rows = map(json.loads, options.results.read_text().splitlines())
        done = {(row["file"], row["diff"]): row["outcome"] for row in rows}
    warm_up({test for each in chosen for test in tests_of(each.file)})
    seconds: dict[tuple[str, ...], float] = {}
    outcomes: Counter[tuple[str, str]] = Counter()
    for index, mutant in enumerate(chosen):
        tests = tests_of(mutant.file)
        outcome, taken = done.get((mutant.file, mutant.diff)), 0.0
        if outcome is None:
            if tests not in seconds:
                said, seconds[tests] = passes(tests, None, 600)
                if said != "passed":
                    sys.exit(f"the tests of {mutant.file} do not pass as it is: {' '.join(tests)}")
            said, taken = passes(tests, Changed(mutant.file, mutant.source), 30 + 5 * seconds[tests])
            outcome = "survived" if said == "passed" else "killed"
        outcomes[mutant.file, outcome] += 1
        print(f"{index + 1:4} {outcome} {taken:5.1f} s {mutant.file}:{mutant.line} {mutant.operator}", flush=True)
        if outcome == "survived":
            print(mutant.diff, flush=True)
        if options.results is not None and taken:
            row = {"file": mutant.file, "line": mutant.line, "operator": mutant.operator, "outcome": outcome}
            with options.results.open("a") as results:
                results.write(json.dumps(row | {"diff": mutant.diff, "seconds": round(taken, 1)}) + "\n")
    print("\n| file | killed | survived |\n|---|---|---|")
    for file in dict.fromkeys(each.file for each in chosen):
        print(f"| `{file.removeprefix('acdc_cli/')}` | {outcomes[file, 'killed']} | {outcomes[file, 'survived']} |")
    killed = sum(count for (_, outcome), count in outcomes.items() if outcome == "killed")
    print(f"| all | {killed} | {len(chosen) - killed} |")


if __name__ == "__main__":
    main()
