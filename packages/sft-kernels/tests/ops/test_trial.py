"""Kernels are tried on a device before they replace anything there; here the device is the interpreter's."""

import pytest
import torch

from sft_kernels import replace, use_backend
from sft_kernels.ops.rms_norm import triton as kernels
from sft_kernels.replace.trial import trial

OP_OF = {"rms_norm": "rms_norm", "glu": "glu", "rope": "rope"}


@pytest.mark.parametrize("op", OP_OF)
def test_right_kernels_pass(op: str) -> None:
    with use_backend("triton", OP_OF[op]):
        assert trial.__wrapped__(op, "cuda" if torch.cuda.is_available() else "cpu") is None


def test_wrong_kernels_replace_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kernels.forward
    monkeypatch.setattr(kernels, "forward", lambda *args: (right(*args)[0] * 1.01, *right(*args)[1:]))
    monkeypatch.setattr(replace, "trial", trial.__wrapped__)
    model = torch.nn.Sequential(Norm())
    with use_backend("triton", "rms_norm"):
        done = replace.apply(model, None, "cuda" if torch.cuda.is_available() else "cpu")
    assert not done.replaced
    assert "its kernels do not give" in next(iter(done.left))
    assert "forward" not in model[0].__dict__


class Norm(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = torch.nn.Parameter(torch.ones(8)), 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype)
