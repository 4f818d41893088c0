"""What a machine can do, told without training."""

from __future__ import annotations

import pytest
import torch

from sft_schema import ConfigError
from sft_schema.attention import BACKENDS
from sft_train.compute import Compute
from sft_train.machine import attention_backends, gpus, varlen_kernels, why_no_gpu
from sft_train.model.attention import check_backend

ON_CPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


@ON_CPU
def test_backends_that_work_are_those_that_a_run_accepts() -> None:
    compute = Compute(bf16=False, use_cpu=True)
    for name, why in attention_backends().items():
        if name not in BACKENDS:
            assert why
        elif why is None:
            check_backend(name, compute)
        else:
            with pytest.raises(ConfigError):
                check_backend(name, compute)


@ON_CPU
def test_a_machine_without_a_gpu_says_why() -> None:
    assert gpus() == ()
    assert "torch" in why_no_gpu()
    assert {name for name, why in varlen_kernels().items() if why is None} == {"sdpa", "reference"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpus_are_listed_with_memory_and_capability() -> None:
    first = gpus()[0]
    assert 0 < first.free <= first.gigabytes
    assert first.capability == 10 * torch.cuda.get_device_capability()[0] + torch.cuda.get_device_capability()[1]
    assert varlen_kernels()["triton"] is None
