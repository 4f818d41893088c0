"""Importing and using the package takes torch and the standard library, nothing else."""

import subprocess
import sys

import sft_kernels

PROBE = """
import sys
import torch
before = set(sys.modules)
import sft_kernels
from sft_kernels import add_rms_norm, cu_seqlens_from_lengths, flash_attn_varlen_func
x = torch.ones(5, 1, 4)
boundaries = cu_seqlens_from_lengths([2, 3])
flash_attn_varlen_func(x, x, x, boundaries, boundaries, 3, 3, causal=True)
add_rms_norm(x, x, torch.ones(4, requires_grad=True))[0].sum().backward()
roots = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(roots - set(sys.stdlib_module_names) - {"sft_kernels", "torch"}))
"""
BLOCK_THE_REST = """
import sys
for name in ("numpy", "transformers", "pydantic", "triton", "flash_attn"):
    sys.modules[name] = None
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)


def test_importing_loads_no_third_party_module_but_torch():
    result = run(PROBE)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_it_works_where_nothing_but_torch_is_installed():
    result = run(BLOCK_THE_REST + PROBE)
    assert result.returncode == 0, result.stderr


def test_the_probe_reports_an_import_that_should_not_be_there():
    result = run(PROBE.replace("import sft_kernels\n", "import sft_kernels, pytest\n", 1))
    assert "pytest" in result.stdout.split(), result.stderr


def test_every_public_name_is_documented_and_importable():
    assert len(set(sft_kernels.__all__)) == len(sft_kernels.__all__)
    for name in sft_kernels.__all__:
        assert getattr(sft_kernels, name).__doc__, name
