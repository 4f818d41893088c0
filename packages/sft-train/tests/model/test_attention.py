from __future__ import annotations

import pytest

from sft_schema import BACKENDS, ConfigError
from sft_train.compute import Compute
from sft_train.model.attention import check_backend

CPU = Compute(bf16=False, use_cpu=True)


@pytest.mark.parametrize("name", [name for name, row in BACKENDS.items() if row.on_cpu])
def test_backends_that_train_on_a_cpu_pass(name: str) -> None:
    check_backend(name, CPU)


@pytest.mark.parametrize("name", [name for name, row in BACKENDS.items() if not row.on_cpu])
def test_others_are_refused_by_name_with_what_can_be_used(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_backend(name, CPU)
    (issue,) = caught.value.issues
    assert name in issue.message
    assert issue.path == ("attn_implementation",)
    assert "eager, sdpa" in issue.fix
    assert "sft_varlen" in issue.fix
    assert name not in issue.fix


def test_backend_of_half_precision_is_refused_in_float32_on_a_gpu_too() -> None:
    with pytest.raises(ConfigError, match=r"flash_attention_2 (needs flash-attn|computes in bfloat16)"):
        check_backend("flash_attention_2", Compute(bf16=False, use_cpu=False))
