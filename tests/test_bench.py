"""The benches run and report what they say; how fast anything is, is no test's business."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[1] / "tools" / "bench"


def found_by(name: str, *arguments: str) -> dict[str, object]:
    command = [sys.executable, BENCH / f"{name}.py", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_packing_bench_holds_the_packers_against_the_bound_and_those_of_others() -> None:
    runs = found_by("packing", "--samples", "5000")["runs"]
    assert len(runs) == 4 * 3
    assert {row["samples"] for row in runs} == {5000}
    for run in runs:
        found = run["efficiency"]
        assert all(found[name] <= run["bound"] for name in found if name != "bfd_split")
        assert found["wrapped"] == run["bound"]
        assert found["sequential"] < min(found["axolotl"], found["TRL"])
        assert max(found["axolotl"], found["TRL"]) <= found["bfd"]
        assert min(found["ffd"], found["spfhp"], found["stream of 10,000"]) > found["sequential"]
        assert run["busiest_process"]["floor"] <= run["busiest_process"]["attention"] < run["busiest_process"]["none"]


def test_the_balance_bench_compares_ways_of_dealing_out_the_same_rows() -> None:
    found = found_by("balance", "--samples", "20000", "--processes", "8", "32")["runs"]
    assert len(found) == 2 * 2 * 2
    for run in found:
        for ratios in run["busiest"].values():
            assert 1 <= ratios["steps"] < ratios["attention"] <= ratios["none"], run
            assert (ratios["attention"] == ratios["none"]) == (run["accumulation"] == 1), run


def test_estimated_memory_is_within_a_tenth_of_what_runs_allocate() -> None:
    cases = ["tiny, full, bf16", "tiny, LoRA, bf16"]
    runs = found_by("estimate", "--case", *cases)["runs"]
    assert [run["case"] for run in runs] == cases
    for run in runs:
        assert 0.9 <= run["ratio"] <= 1.1, run


def test_the_startup_bench_validates_a_config_of_three_hundred_lines() -> None:
    programs = found_by("startup", "--runs", "1")["programs"]
    (lines,) = [int(name.partition("(")[2].split()[0]) for name in programs if name.startswith("sft validate")]
    assert lines >= 300
    assert all(row["seconds"] > 0 for row in programs.values())
    assert programs["python -c pass"]["ratio"] == 1.0


def test_the_preprocessing_bench_compares_with_encoding_alone(tmp_path: Path) -> None:
    base = Path(__file__).parents[1] / "examples" / "quickstart" / "base"
    (tmp_path / "qwen3").symlink_to(base)
    found = found_by("preprocess", "--tokenizers", str(tmp_path), "--rows", "40", "--runs", "1")
    contenders = found["contenders"]["qwen3"]
    assert {row["tokens"] for row in contenders.values()} == {contenders["encode"]["tokens"]}
    assert {row["rows"] for row in contenders.values()} == {40}
    assert found["ours"]["qwen3"]["ratio_to_encode"] > 0


def test_the_memory_bench_measures_the_reader_and_its_workers() -> None:
    found = found_by("memory", "--rows", "50,120")
    assert [row["rows"] for row in found["runs"]] == [50, 120]
    assert all(row["reader_mb"] > 20 and row["worker_mb"] > 20 for row in found["runs"])


def test_the_bench_of_kernels_times_what_there_is_and_says_what_there_is_not() -> None:
    ops = ["rms_norm", "varlen_attention", "lora_linear", "dequantize_nf4", "grouped_linear"]
    found = found_by("kernels", "--self-test", "--ops", *ops)
    assert [row["op"] for row in found["rows"]] == ops
    assert all(rate > 0 for rate in found["ceilings"].values())
    for row in found["rows"]:
        assert {"sft_kernels", "PyTorch"} <= row["ms"].keys(), row["not_run"]
        assert ("both" in row["ms"]["sft_kernels"]) == (row["op"] != "dequantize_nf4")
        for name, parts in row["rate"].items():
            assert all(rate > 0 for rate in parts.values()), name
            assert row["share_of_ceiling"][name].keys() == row["ms"][name].keys()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_bench_of_kernels_does_not_time_a_cpu() -> None:
    done = subprocess.run([sys.executable, BENCH / "kernels.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("no GPU was found")


@pytest.mark.slow
def test_the_suite_for_gpus_runs_all_its_parts() -> None:
    found = found_by("gpu", "--self-test")
    parts = {name: {row["case"]: row for row in rows} for name, rows in found["parts"].items()}
    assert list(parts) == ["attention", "kernels", "optimizers", "memory", "training"]
    assert found["machine"]["self_test"]
    assert torch.__version__.startswith(found["machine"]["versions"]["torch"])
    assert all(row["ok"] is None for row in parts.pop("training").values())
    for name, rows in parts.items():
        assert all(row["ok"] or (row["ok"] is None and row["why"]) for row in rows.values()), rows
        assert any(row["ok"] for row in rows.values()), name
    for case in ("eager", "sdpa", "sft_varlen sdpa", "sft_varlen reference"):
        figures = parts["attention"][case]["figures"]
        assert figures["leak on purpose, gradient"] > 10 * figures["packed, gradient"] > 0
    assert "needs a CUDA device" in parts["attention"]["flash_attention_2"]["why"]
    assert found["parts"]["training"][0]["figures"]["ours, tokens/s"] > 0
    states = {name: row["figures"]["bytes of state for a weight"] for name, row in parts["optimizers"].items()}
    assert (
        states["adamw_bnb_8bit"] < states["paged_adamw_32bit"] == pytest.approx(states["adamw_torch_fused"], rel=1e-3)
    )
    for row in parts["memory"].values():
        assert 0 < row["figures"]["peak MiB"] <= row["figures"]["limit MiB"]
