"""Two processes: ops within a module that fully_shard was applied to, and ops that are given a DTensor."""

import subprocess
import sys
from pathlib import Path

import pytest
from torch import distributed

SHARDED = """
import sys
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
import sft_kernels as ops
from sft_kernels.testing.ops import CASES

rank = int(sys.argv[1])
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))

refused = 0
for name, case in CASES.items():
    inputs = case.make(4, torch.float32)
    for i, each in enumerate(inputs):
        if not each.is_floating_point():
            continue
        split = distribute_tensor(each.detach(), mesh, [Shard(0)])
        try:
            case.function(*inputs[:i], split, *inputs[i + 1 :], backend="reference")
        except ValueError as error:
            op = {"dequantize_nf4": "dequantize"}.get(name, case.op)
            assert f"{op}: a tensor of shape" in str(error) and "is a DTensor" in str(error), (name, i, error)
            refused += 1
        else:
            raise AssertionError(f"{name} took a DTensor as its argument {i}")
assert refused > 40, refused

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.head = nn.Parameter(torch.ones(6)), nn.Linear(6, 16), nn.Linear(8, 12)

    def forward(self, x, target):
        x = ops.rms_norm(x, self.norm)
        x = ops.swiglu_packed(self.up(x))
        q = x.view(-1, 2, 4)
        cu = ops.cu_seqlens_from_lengths([2, 3])
        x = x + ops.flash_attn_varlen_func(q, q, q, cu, cu, 3, 3, causal=True, backend="reference").flatten(1)
        return ops.linear_cross_entropy(x, self.head.weight, target, self.head.bias)

torch.manual_seed(0)
whole, split = Block(), Block()
split.load_state_dict(whole.state_dict())
fully_shard(split, mesh=mesh, reshard_after_forward=True)
batches = torch.randn(2, 5, 6), torch.tensor([[1, -100, 3, 4, 0], [5, 6, 7, 8, 11]])
mean = sum(whole(*(each[r] for each in batches)) for r in range(2)) / 2
mean.backward()
loss = split(*(each[rank] for each in batches))
loss.backward()
for (name, right), found in zip(whole.named_parameters(), split.parameters(), strict=True):
    assert isinstance(found.grad, DTensor)
    torch.testing.assert_close(found.grad.full_tensor(), right.grad, msg=lambda text: f"{name}: {text}")
distributed.destroy_process_group()
print("same", refused)
"""


@pytest.mark.skipif(not distributed.is_available(), reason="this torch has no distributed package")
def test_ops_work_under_fully_shard_and_refuse_dtensors_by_name(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SHARDED]
    running = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "meet")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    for process in running:
        out, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        assert out.startswith("same")
