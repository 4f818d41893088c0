"""What replacement recognises, what it leaves and why, and the way back. Real models: tests/ of the repository."""

from types import MethodType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from sft_kernels import replace


class RMSNorm(nn.Module):
    """As Llama's."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = nn.Parameter(torch.rand(width) + 0.5), 1e-6

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)).to(
            x.dtype
        )


class HalvedNorm(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


class ForwardOnlyNorm(RMSNorm):
    """The right values with the wrong gradient."""

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        root = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon).detach()
        return self.weight * (wide * root).to(x.dtype)


class MLP(nn.Module):
    def __init__(self, activation: object = F.silu) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(12, 8)
        self.act_fn = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class LeakyMLP(MLP):
    """With something after the gate."""

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.leaky_relu(self.act_fn(self.gate_proj(x)) * self.up_proj(x)))


def apply_rotary_pos_emb(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    def turned(x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        return x * cos[:, None] + torch.cat((-b, a), -1) * sin[:, None]

    return turned(q), turned(k)


class DroppingMLP(MLP):
    """With dropout that is not seen in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(super().forward(x))


class DroppingByFunction(MLP):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.5, self.training)


class Attention(nn.Module):
    """As Qwen3's up to the rotation, with an optional step between norm and rotation."""

    def __init__(self, between: float = 1.0) -> None:
        super().__init__()
        self.q_proj = self.k_proj = self.v_proj = nn.Linear(8, 16)
        self.q_norm, self.k_norm, self.head_dim, self.between = RMSNorm(), RMSNorm(), 8, between

    def forward(self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], mask: object = None) -> Tensor:
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        q = self.q_norm(self.q_proj(hidden_states).view(shape)).transpose(1, 2)
        k = self.k_norm(self.k_proj(hidden_states).view(shape)).transpose(1, 2)
        if self.between != 1:
            q = q * self.between
        cos, sin = position_embeddings
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        return q @ k.transpose(-1, -2)


class Experts(nn.Module):
    """With a gate of its own, as in models of transformers with many experts."""

    def __init__(self, implementation: str) -> None:
        super().__init__()
        self.config = SimpleNamespace(_experts_implementation=implementation)

    def _apply_gate(self, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate) * up

    def forward(self, x: Tensor) -> Tensor:
        return x


def model_of(*modules: nn.Module) -> nn.Module:
    return nn.ModuleList(modules)


def left(module: nn.Module) -> str:
    (text,) = replace.apply(model_of(module)).left
    return text


@pytest.mark.parametrize(
    ("module", "op"),
    [
        (RMSNorm(), "rms_norm"),
        (nn.LayerNorm(8), "layer_norm"),
        (nn.LayerNorm(8, elementwise_affine=False), "layer_norm"),
        (MLP(), "glu"),
        (MLP(F.gelu), "glu"),
        (MLP(nn.GELU("tanh")), "glu"),
    ],
)
def test_a_replaced_module_computes_the_same_and_is_itself_again_afterwards(module: nn.Module, op: str) -> None:
    x = torch.randn(2, 3, 8, requires_grad=True)
    expected = module(x)
    (gradient,) = torch.autograd.grad(expected.square().sum(), x)
    done = replace.apply(model_of(module))
    assert done.replaced == {op: 1}
    assert torch.allclose(module(x), expected, atol=1e-6)
    assert torch.allclose(torch.autograd.grad(module(x).square().sum(), x)[0], gradient, atol=1e-5)
    done.undo()
    done.undo()
    assert "forward" not in module.__dict__
    assert torch.equal(module(x), expected)


def test_norms_and_rotation_become_one() -> None:
    module, x = Attention(), torch.randn(2, 5, 8)
    angles = (torch.rand(2, 5, 8), torch.rand(2, 5, 8))
    expected = module(x, angles)
    done = replace.apply(model_of(module))
    assert done.replaced == {"qk_norm_rope": 1}
    assert not done.left
    assert torch.allclose(module(x, position_embeddings=angles), expected, atol=1e-5)
    weight = module.q_norm.weight
    assert torch.autograd.grad(module(x, angles).square().sum(), weight)[0].abs().sum() > 0


def test_a_step_between_norm_and_rotation_is_seen() -> None:
    module, x = Attention(between=0.5), torch.randn(1, 5, 8)
    angles = (torch.rand(1, 5, 8), torch.rand(1, 5, 8))
    expected = module(x, angles)
    done = replace.apply(model_of(module))
    assert done.replaced == {"rope": 1, "rms_norm": 2}
    assert "something else happens between its norms and the rotation" in next(iter(done.left))
    assert torch.allclose(module(x, angles), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (HalvedNorm(), "does not compute what rms_norm does"),
        (ForwardOnlyNorm(), "does not compute what rms_norm does"),
        (MLP(F.relu), "does not compute what swiglu or geglu does"),
        (LeakyMLP(), "does not compute what swiglu or geglu does"),
        (DroppingMLP().eval(), "it has dropout"),
        (DroppingByFunction().eval(), "cannot be tried"),
        (nn.LayerNorm((2, 8)), "it is over 2 dimensions"),
        (Experts("eager"), "has the activation within"),
    ],
)
def test_what_looks_alike_and_is_not_is_left_with_a_reason(module: nn.Module, reason: str) -> None:
    assert reason in left(module)
    assert "forward" not in module.__dict__


def test_the_gate_of_experts_alone_is_replaced() -> None:
    module, x = Experts("grouped_mm"), torch.randn(5, 12)
    expected = module._apply_gate(x)
    assert replace.apply(model_of(module)).replaced == {"glu": 1}
    assert torch.allclose(module._apply_gate(x), expected, atol=1e-6)


def test_a_forward_of_somebody_else_stays() -> None:
    module = RMSNorm()
    module.forward = MethodType(lambda self, x: x, module)  # type: ignore[method-assign]
    assert "has been replaced already" in left(module)
    assert replace.apply(model_of(RMSNorm())).replaced == {"rms_norm": 1}
    assert torch.equal(module(torch.ones(8)), torch.ones(8))


def test_it_is_not_undone_under_something_that_came_later() -> None:
    module = RMSNorm()
    done = replace.apply(model_of(module, nn.LayerNorm(4)))
    module.forward = MethodType(lambda self, x: x, module)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match=r"RMSNorm\.forward was replaced again"):
        done.undo()


def test_the_global_function_stays_what_it_is() -> None:
    before = apply_rotary_pos_emb
    replace.apply(model_of(Attention()), {"rope"})
    assert globals()["apply_rotary_pos_emb"] is before
    assert Attention.forward.__globals__["apply_rotary_pos_emb"] is before
