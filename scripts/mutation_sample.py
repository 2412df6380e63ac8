"""Mutation testing: do the unit tests notice when a line of the core is changed?

    python -m pip install mutmut      # 3.8 or newer; the project itself does not need it
    python scripts/mutation_sample.py                       # 400 mutants of sparsity/ and measure/, an hour on 2 cores
    python scripts/mutation_sample.py --sample 1000 --only acdc_cli/sparsity/topk.py

A mutant is a file of these two packages with one small change. The changes are made by mutmut's operators (``<``
becomes ``<=``, ``+`` becomes ``-``, an argument is left out, a value becomes None, ...) and by one more operator, which
leaves out a statement. A mutant is killed if one of the unit tests of its file fails, ends in an error or hangs. It
survives if all of them pass.

mutmut's own runner skips every decorated function and cannot be told which tests belong to a file, so this script has
its own. A process that has imported PyTorch and pytest forks a child for each mutant, and the child imports the changed
file in place of the real one. Nothing on disk is changed.

Annotations, docstrings, imports and the texts of errors are not mutated. Of mutmut's mutants of a string, only the
first is used. Mutants in which an argument becomes None are not used, because they nearly always crash. docs/testing.md
has the results, and the mutants that survive for a reason.
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
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch._dynamo  # imported here once; otherwise the first optimizer would import it in every child

try:
    import libcst
    from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper
    from mutmut.mutation.mutators import mutation_operators
except ImportError as error:
    sys.exit(f"{error}; run: {sys.executable} -m pip install 'mutmut>=3.8'")

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "tests" / "unit"
MUTATED = ("acdc_cli/sparsity", "acdc_cli/measure")
# The unit tests of a file are its test_FILE.py, if that exists, and the ones listed here, the quickest first.
MOVING = "snip set rigl iht gmp fixed_masks flops_of_methods"
TESTS_OF = {
    "allocate": "erk blocks patterns rules",
    "select": "allocate blocks patterns erk gmp",
    "target": "allocate patterns rules fixed_masks gmp rigl",
    "rules": "allocate prunable",
    "prunable": "rules library_models",
    "rewiring": "set rigl gmp fixed_masks",
    "masks": "acdc",
    "topk": "topk_chunks",
    "timeline": "timeline_text",
    "window": "rigl set gmp iht",
    "gradual": "gmp blocks woodfisher",
    "method": f"acdc dsd {MOVING}",
    "hooks": f"acdc steps_of_others {MOVING} every_method",
    "moving": f"{MOVING} woodfisher steps_of_others every_method",
    "covered": f"replaced_parts copies rules acdc {MOVING} steps_of_others every_method",
    "fisher": "woodfisher",
    "fisher_estimate": "fisher woodfisher",
    "fisher_memory": "woodfisher",
    "fisher_sample": "fisher woodfisher",
    "dropout_kl": "sparse_vd",
    "noisy_layers": "sparse_vd",
    "dense": "acdc",
    "fixed": "fixed_masks flops_of_methods",
    "gmp": "flops_of_methods",
    "iht": "flops_of_methods",
    "rigl": "set fixed_masks flops_of_methods",
    "dsd": "every_method",
    "static": "fixed_masks",
    "soft_threshold": "flops_of_methods every_method",
    "top_kast": "flops_of_methods every_method",
    "variational": "sparse_vd flops_of_methods every_method",
    "woodfisher": "flops_of_methods every_method",
    "flops": "products flops_of_methods erk prunable",
    "network": "flops_of_methods record_format",
    "best": "best_epoch",
    "kinds": "kinds_trained prunable uncovered",
    "layout": "kinds kinds_trained",
    "coverage": "uncovered",
    "binding": "replaced_parts copies",
    "steps": "lbfgs steps_of_others",
    "moments": "initial_state",
    "memory": "peak_memory",
}
# For a mutant in a method's file, only the cases of that method in test_every_method.py are run.
CASES = {"dsd": "dsd", "soft_threshold": "str", "top_kast": "top_kast", "variational": "sparse_vd"}
CASES["woodfisher"] = "woodfisher"


@dataclass(frozen=True)
class Mutant:
    """One change of a file: the bytes from ``start`` to ``end`` become ``code``."""

    file: str
    operator: str
    start: int
    end: int
    code: str

    @property
    def source(self) -> str:
        """The whole changed file."""
        before = (ROOT / self.file).read_bytes()
        return b"".join((before[: self.start], self.code.encode(), before[self.end :])).decode()

    @property
    def diff(self) -> str:
        """The changed lines."""
        lines = [(ROOT / self.file).read_text().splitlines(), self.source.splitlines()]
        return "\n".join(list(difflib.unified_diff(*lines, lineterm="", n=0))[2:])

    @property
    def is_another_program(self) -> bool:
        """Whether the changed file is valid Python and differs in its syntax tree from the real one."""
        try:
            return _program(self.source) != _program((ROOT / self.file).read_text())
        except SyntaxError:
            return False


class Mutations(libcst.CSTVisitor):
    """Collect all mutants of a file."""

    METADATA_DEPENDENCIES = (ByteSpanPositionProvider,)

    def __init__(self, file: str, module: libcst.Module) -> None:
        super().__init__()
        self.file, self.module = file, module
        self.found: list[Mutant] = []

    def on_visit(self, node: libcst.CSTNode) -> bool:
        """Collect the mutants of a node. Returns whether to visit the nodes inside it."""
        if isinstance(node, (libcst.Annotation, libcst.Raise, libcst.Import, libcst.ImportFrom)):
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                name = operator.__name__.removeprefix("operator_")
                # Further mutants of a string only change its case, and a call with an argument None only crashes.
                for changed in islice(operator(node), 1 if name == "string" else None):
                    if not isinstance(node, libcst.Call) or len(changed.args) < len(node.args):
                        self._note(node, changed, name)
        if isinstance(node, libcst.Expr) and not isinstance(node.value, libcst.BaseString):
            self._note(node, libcst.Pass(), "statement_removal")
        return True

    def _note(self, node: libcst.CSTNode, changed: libcst.CSTNode, operator: str) -> None:
        span = self.get_metadata(ByteSpanPositionProvider, node)
        code = self.module.code_for_node(changed)
        self.found.append(Mutant(self.file, operator, span.start, span.start + span.length, code))


def mutants_of(file: str) -> list[Mutant]:
    """Return all mutants of a file, including those that change nothing, see ``Mutant.is_another_program``."""
    wrapper = MetadataWrapper(libcst.parse_module((ROOT / file).read_text()))
    mutations = Mutations(file, wrapper.module)
    wrapper.visit(mutations)
    return list(dict.fromkeys(mutations.found))


def sample(every: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """Draw ``count`` of the mutants with the given seed, and return them in the order of their files."""
    shuffled = random.Random(seed).sample(every, len(every))
    return sorted(islice((each for each in shuffled if each.is_another_program), count), key=lambda each: each.file)


@cache
def _program(source: str) -> str:
    """Return the syntax tree of a source as text."""
    return ast.dump(ast.parse(source))


@cache
def tests_of(file: str) -> tuple[str, ...]:
    """Return the paths of the unit tests of a file."""
    stem = Path(file).stem
    shared = ["method"] if "/methods/" in file else []
    names = [stem, *shared, *TESTS_OF.get(stem, "").split()]
    paths = [path for name in dict.fromkeys(names) for path in UNIT.rglob(f"test_{name}.py")]
    found = tuple(str(path) for path in paths if path.is_file())
    if not found:
        sys.exit(f"{file}: there are no unit tests of this file; name some in TESTS_OF of {Path(__file__).name}")
    return found


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """An importer that loads one module from changed source code in place of its file."""

    def __init__(self, file: str, source: str) -> None:
        self.path, self.source = ROOT / file, source
        self.name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for the changed module, and None for all others."""
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def create_module(self, spec: object) -> None:
        """Return None, so that Python creates the module object."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed source."""
        exec(compile(self.source, str(self.path), "exec"), module.__dict__)


def passes(tests: tuple[str, ...], timeout_s: float, mutant: Mutant | None = None) -> tuple[str, float]:
    """Run tests in a child process. Returns ``passed``, ``failed`` or ``timeout``, and the seconds taken."""
    case = None if mutant is None else CASES.get(Path(mutant.file).stem)
    cases = [] if case is None else ["-k", f"not test_every_method or {case}"]
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.setpgid(0, 0)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
            if mutant is not None:
                sys.meta_path.insert(0, Changed(mutant.file, mutant.source))
            code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *cases, *tests])
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
    """Import everything that the tests need, then drop the program and the tests from ``sys.modules``.

    Children then share the imported libraries, and each imports its own copy of the program and the tests.
    """
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
    """Draw mutants, run their tests, print the ones that survive and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=400, help="number of mutants over all files")
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--only", nargs="*", default=[], help="run only the mutants of these files in the sample")
    parser.add_argument("--results", type=Path, help="append one JSON line per mutant, and skip mutants already in it")
    options = parser.parse_args()
    files = sorted(str(path.relative_to(ROOT)) for folder in MUTATED for path in (ROOT / folder).rglob("[!_]*.py"))
    every = [mutant for file in files for mutant in mutants_of(file)]
    chosen = sample(every, options.sample, options.seed)
    chosen = [each for each in chosen if not options.only or each.file in options.only]
    print(f"{len(every)} mutants of {len(files)} files; sample of {options.sample}, seed {options.seed}: {len(chosen)}")
    done = {}
    if options.results is not None and options.results.is_file():
        rows = map(json.loads, options.results.read_text().splitlines())
        done = {(row["file"], row["diff"]): row["outcome"] for row in rows}
    warm_up({test for each in chosen for test in tests_of(each.file)})
    seconds: dict[str, float] = {}
    outcomes: Counter[tuple[str, str]] = Counter()
    for index, mutant in enumerate(chosen):
        tests = tests_of(mutant.file)
        outcome, taken = done.get((mutant.file, mutant.diff)), 0.0
        if outcome is None:
            for test in set(tests) - seconds.keys():
                said, seconds[test] = passes((test,), 600)
                if said != "passed":
                    sys.exit(f"{test}: does not pass on the unchanged program ({said})")
            limit_s = 30 + 5 * sum(seconds[test] for test in tests)
            said, taken = passes(tests, limit_s, mutant)
            outcome = "survived" if said == "passed" else "killed"
        outcomes[mutant.file, outcome] += 1
        print(f"{index + 1:4} {outcome} {taken:5.1f} s {mutant.file} {mutant.operator}", flush=True)
        if outcome == "survived":
            print(mutant.diff, flush=True)
        if options.results is not None and taken:
            row = {"file": mutant.file, "operator": mutant.operator, "outcome": outcome}
            with options.results.open("a") as results:
                results.write(json.dumps(row | {"diff": mutant.diff, "seconds": round(taken, 1)}) + "\n")
    print("\n| file | killed | survived |\n|---|---|---|")
    for file in dict.fromkeys(each.file for each in chosen):
        print(f"| `{file.removeprefix('acdc_cli/')}` | {outcomes[file, 'killed']} | {outcomes[file, 'survived']} |")
    killed = sum(count for (_, outcome), count in outcomes.items() if outcome == "killed")
    print(f"| all | {killed} | {len(chosen) - killed} |")


if __name__ == "__main__":
    main()
