"""What the documents name exists: links, commands, flags, make targets, keys, parts; the drawn plan is the real one."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from acdc_cli.config.command_line import check_overrides, rewrite
from acdc_cli.tables.spec import PUBLISHED

ROOT = Path(__file__).resolve().parents[2]
CONF, DOCS = ROOT / "conf", ROOT / "docs"
README_LINES = 120
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md"), *DOCS.glob("*/README.md")])
# The blocks of docs/extending.md run one after another in a test of their own.
WITH_COMMANDS = [path for path in DOCUMENTS if path.name != "extending.md"]
IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PLACEHOLDER = re.compile(r"\b(RUN|NAME|FAMILY|DIR|FILE|VALUE|KEY|GROUP|OPTION|AMOUNT|RUN_OR_FILE|N)\b|model\.pt|\.\.\.")
ANSWERED_BY_HYDRA = {"--help", "-sc"}
LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands_of(text: str) -> Iterator[list[str]]:
    """Yield the words of every command in ``sh`` blocks and in inline code, without comments."""
    inline = re.findall(r"`((?:acdc-\w+|make) [^`]+)`", FENCED.sub("", text))
    for part in [*blocks(text, "sh"), *(" ".join(code.split()) for code in inline)]:
        for line in part.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            start = [index for index, word in enumerate(words) if re.fullmatch(r"(.*/)?acdc-\w+|make", word)]
            if start:
                yield [Path(words[start[0]]).name, *words[start[0] + 1 :]]


def first_of_sweep(override: str) -> str:
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        return override
    return f"{parsed.key_or_group}={next(iter(parsed.sweep_string_iterator()))}"


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to a text's headings: lower case, hyphens for blanks, no punctuation."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_one_screen() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_links_lead_to_files_and_headings(path: Path) -> None:
    for link in LINK.findall(path.read_text()):
        if link.startswith("http"):
            continue
        name, _, heading = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not heading or heading in anchors(target.read_text()), link


def test_the_index_has_every_page() -> None:
    linked = {link.partition("#")[0] for link in LINK.findall((DOCS / "README.md").read_text())}
    assert {path.name for path in DOCS.glob("*.md")} - {"README.md"} <= linked


TYPED = {
    tuple(words[1:]) for path in WITH_COMMANDS for words in commands_of(path.read_text()) if words[0] == "acdc-train"
}
COMPOSED = sorted(words for words in TYPED if not ANSWERED_BY_HYDRA & set(words))


@pytest.mark.parametrize("words", COMPOSED, ids=" ".join)
def test_every_line_of_acdc_train_composes(words: tuple[str, ...], acdc_train: Callable[..., Any]) -> None:
    """Whatever stands for a value of the reader's own, such as RUN, is left out: then only the keys are checked."""
    overrides = rewrite([word for word in words if word not in ("-m", "--cfg", "job", "--resolve")])
    own = [word for word in overrides if not word.startswith(("hydra/", "hydra."))]
    complete = [word for word in own if not PLACEHOLDER.search(word)]
    check_overrides([word for word in complete if "=" in word], multirun="-m" in words)
    check_overrides([f"{word.partition('=')[0]}=null" for word in own if re.match(r"[a-z_.]+\.[a-z_0-9]+=", word)])
    if complete == own:
        outcome = acdc_train("--cfg", "job", "--resolve", *map(first_of_sweep, own))
        assert (outcome.code, outcome.err) == (0, "")


def test_flags_of_the_other_commands_exist(command: Callable[..., Any]) -> None:
    helped: dict[tuple[str, ...], str] = {}
    for path in WITH_COMMANDS:
        for name, *words in commands_of(path.read_text()):
            if name in ("make", "acdc-train"):
                continue
            is_sub = name == "acdc-data" and words and words[0] in ("prepare", "list", "check")
            call = (name, words[0]) if is_sub else (name,)
            if call not in helped:
                done = command(*call, "--help")
                assert done.returncode == 0, call
                helped[call] = done.stdout
            for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
                assert re.search(rf"{flag}\b", helped[call]), (path.name, words)
    assert {call[0] for call in helped} >= {"acdc-eval", "acdc-report", "acdc-data", "acdc-search", "acdc-doctor"}


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets |= {path.stem for path in PUBLISHED.glob("*.yaml")}
    named = {
        word
        for path in WITH_COMMANDS
        for name, *words in commands_of(path.read_text())
        if name == "make"
        for word in words
        if "=" not in word and not PLACEHOLDER.search(word)
    }
    assert named >= {"setup", "demo", "test", "test-all", "lint", "table1"}
    assert named <= targets


def test_scripts_that_are_named_exist() -> None:
    named = {
        file
        for path in DOCUMENTS
        for file in re.findall(r"python ((?:scripts|benchmarks|examples|tests)/[\w/]+\.py)", path.read_text())
    }
    assert named
    assert [file for file in sorted(named) if not (ROOT / file).is_file()] == []


def test_imports_of_python_blocks_work() -> None:
    lines = [
        ast.unparse(node)
        for path in WITH_COMMANDS
        for block in blocks(path.read_text(), "python")
        for node in ast.parse(block).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    assert len(lines) >= 3
    for line in lines:
        exec(line, {})


def keys_in(file: Path, group: str) -> set[str]:
    """Return the keys of a group that one of its YAML files sets. A model's file has them under ``model``."""
    content = yaml.safe_load(file.read_text()) or {}
    content = content.get(group, content) if group == "model" else content
    return {key for key in content if key != "defaults"}


GROUPS = sorted({folder.name for folder in CONF.iterdir() if folder.is_dir()} - {"experiment", "table"})


@pytest.mark.parametrize("group", [group for group in GROUPS if group not in ("method", "model")])
def test_every_key_of_a_group_is_described(group: str) -> None:
    described = "".join((DOCS / f"{name}.md").read_text() for name in ("keys", "sparsity", "schedules", "data"))
    keys = {f"{group}.{key}" for file in (CONF / group).glob("*.yaml") for key in keys_in(file, group)}
    assert [key for key in sorted(keys) if not re.search(rf"\b{re.escape(key)}\b", described)] == []


def test_every_key_of_a_run_is_described() -> None:
    described = (DOCS / "keys.md").read_text()
    config = yaml.safe_load((CONF / "config.yaml").read_text())
    keys = {key for key in config if key not in ("defaults", "hydra", *GROUPS)}
    keys = keys - {"checkpoint", "run"} | {f"{name}.{key}" for name in ("checkpoint", "run") for key in config[name]}
    assert [key for key in sorted(keys) if f"`{key}`" not in described] == []


def test_every_key_of_a_method_is_in_its_row() -> None:
    rows = {
        line.split("`")[1]: line for line in (DOCS / "methods.md").read_text().splitlines() if line.startswith("| `")
    }
    rows["woodfisher_gradual"] = rows["woodfisher"]  # "the keys of woodfisher"
    for file in (CONF / "method").glob("*.yaml"):
        keys = keys_in(file, "method") - {"name"}
        assert [key for key in sorted(keys) if f"`{key}`" not in rows[file.stem]] == [], file.stem


@pytest.mark.parametrize(("group", "page"), [("method", "methods"), ("model", "models"), ("dataset", "data")])
def test_every_option_is_described(group: str, page: str) -> None:
    described = re.findall(r"^\| (`.*?`) \|", (DOCS / f"{page}.md").read_text(), re.MULTILINE)
    names = {name for cell in described for name in re.findall(r"`(\w+)`", cell)}
    assert {file.stem for file in (CONF / group).glob("*.yaml")} <= names


def test_the_plan_that_is_drawn_is_the_one_that_is_printed(acdc_train: Callable[..., Any]) -> None:
    block = re.search(
        r"^```\n\$ acdc-train (.*?) > plan.json\n(.*?)^```", (DOCS / "schedules.md").read_text(), re.M | re.S
    )
    assert block is not None
    outcome = acdc_train(*block[1].split())
    assert outcome.err == block[2]
