"""The default precision on given processors: bf16 only where it is computed and not emulated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from acdc_cli.config.compose import compose_config
from acdc_cli.planning.precision import planned_dtype, processor_features, settled_dtype

# Excerpts of /proc/cpuinfo, from the processors that are named.
CPUINFO = {
    "AMD EPYC 7763 (Zen 3)": ("flags\t\t: fpu sse sse2 fma f16c avx avx2 bmi2 vaes", "fp32"),
    "AMD EPYC 9554 (Zen 4)": ("flags\t\t: fpu sse2 avx2 avx512f avx512_bf16 avx512_vnni", "bf16"),
    "Intel Xeon Platinum 8280 (Cascade Lake)": ("flags\t\t: sse2 avx2 avx512f avx512bw avx512_vnni", "fp32"),
    "Intel Xeon Platinum 8480 (Sapphire Rapids)": ("flags\t\t: avx512f amx_bf16 amx_tile amx_int8", "bf16"),
    "AWS Graviton 2 (Neoverse N1)": ("Features\t: fp asimd aes crc32 atomics fphp asimdhp", "fp32"),
    "AWS Graviton 3 (Neoverse V1)": ("Features\t: fp asimd sve i8mm bf16 dgh rng", "bf16"),
}


@pytest.mark.parametrize("processor", CPUINFO)
def test_the_default_on_a_processor(processor: str, tmp_path: Path) -> None:
    line, expected = CPUINFO[processor]
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: a bf16 in a name is no flag\n{line}\n")
    said = list[str]()
    becomes = settled_dtype(compose_config(["device=cpu"]), said.append, processor_features(tmp_path / "cpuinfo"))
    assert (becomes, said) == (expected, [])


@pytest.mark.parametrize(("has_bfloat16", "expected"), [(True, "bf16"), (False, "fp16")])
def test_the_default_on_a_gpu(has_bfloat16: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    assert settled_dtype(compose_config(["device=cuda"]), print, ()) == expected


def test_a_system_that_names_no_features_computes_in_fp32(tmp_path: Path) -> None:
    assert settled_dtype(compose_config(["device=cpu"]), print, processor_features(tmp_path / "missing")) == "fp32"


@pytest.mark.parametrize(
    ("asked", "features", "becomes", "words"),
    [
        ("bf16", ["avx2"], "bf16", ("precision=bf16", "emulates", "11 times", "picks fp32")),
        ("bf16", ["avx2", "avx512_bf16"], "bf16", ()),
        ("fp16", ["avx2"], "fp32", ("precision=fp16", "GPU", "running as fp32")),
        ("fp16", ["amx_bf16"], "bf16", ("precision=fp16", "GPU", "running as bf16")),
        ("fp32", ["amx_bf16"], "fp32", ()),
        ("fp64", ["avx2"], "fp64", ()),
    ],
)
def test_a_format_that_is_asked_for(asked: str, features: list[str], becomes: str, words: tuple[str, ...]) -> None:
    said = list[str]()
    assert settled_dtype(compose_config([f"precision={asked}", "device=cpu"]), said.append, features) == becomes
    assert len(said) == bool(words) and all(word in said[0] for word in words)


def test_a_plan_names_what_auto_becomes() -> None:
    here = compose_config(["device=cpu"])
    assert planned_dtype(here) == settled_dtype(here, print) != "auto"
    assert here.precision.dtype == "auto"


@pytest.mark.parametrize("choice", ["", "model=resnet8", "model=resnet20", "model=timm", "model=torchvision"])
def test_what_no_paper_decides_is_auto(choice: str) -> None:
    assert compose_config(choice.split()).precision.dtype == "auto"
