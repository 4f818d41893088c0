"""Attention over 2 and over 4 gloo ranks, held against one process.

    python ranks.py REPORT

Four processes are forked once torch is imported. The first of each group writes a line of JSON to the file REPORT for
each case: name, and the largest differences on any rank, of the output and of each gradient.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing import start_processes

from sft_kernels import cu_seqlens_from_lengths, flash_attn_varlen_func
from sft_kernels.context_parallel import METHODS, ContextLayout, ContextParallel, take

torch.set_num_threads(1)

LAYOUTS: dict[str, list[int]] = {
    "one": [97],
    "many": [3, 5, 1, 4, 2, 7, 6, 3, 1, 1, 5, 2, 4],
    "across": [20, 41, 3, 1, 30],
    "empty": [0, 9, 0, 0, 33, 0],
    "ends_at_cuts": [8, 16, 8],
    "fewer_than_chunks": [2, 1],
}
SETTINGS: dict[str, dict[str, Any]] = {
    "causal": {"causal": True},
    "window": {"causal": True, "window_size": (6, 6)},
    "wide_window": {"causal": True, "window_size": (40, 0)},
    "both_sides": {"window_size": (9, 4)},
    "not_causal": {},
    "softcap": {"causal": True, "softcap": 2.0},
    "softcap_window_sinks": {"causal": True, "softcap": 3.0, "window_size": (11, 0), "sinks": True},
    "sinks": {"causal": True, "sinks": True},
    "scale": {"causal": True, "softmax_scale": 0.9},
}
HEADS = {"many_keys": (4, 4), "grouped": (8, 4), "few_keys": (4, 2), "one_key": (4, 1)}


class Case(NamedTuple):
    """What is computed."""

    method: str
    lengths: str
    setting: str
    heads: str


def cases() -> Iterator[Case]:
    """The ring with most of lengths and settings; ulysses, which leaves attention as it is, with some of them."""
    for lengths in LAYOUTS:
        for setting in SETTINGS if lengths in ("one", "across", "empty") else ("causal", "both_sides", "sinks"):
            yield Case("ring", lengths, setting, "few_keys")
        yield Case("ulysses", lengths, "softcap_window_sinks", "few_keys")
    for setting in SETTINGS:
        yield Case("ulysses", "across", setting, "few_keys")
    for heads in HEADS:
        for method in METHODS:
            yield Case(method, "one", "softcap_window_sinks", heads)


def wanted(ranks: int, case: Case) -> bool:
    """Whether so many ranks compute it: two of them some, four all."""
    return ranks == 4 or case.lengths in ("across", "empty")


def twice(case: Case) -> bool:
    """Whether it is computed a second time, to compare bits."""
    return case.lengths == "one"


class Inputs(NamedTuple):
    """A whole row: queries, keys, values, gradient of the output, sinks; the values are wider than the keys."""

    q: Tensor
    k: Tensor
    v: Tensor
    dout: Tensor
    sinks: Tensor | None


def drawn(case: Case) -> Inputs:
    heads, kv_heads = HEADS[case.heads]
    total = sum(LAYOUTS[case.lengths])
    generator = torch.Generator().manual_seed(7)
    shapes = (total, heads, 8), (total, kv_heads, 8), (total, kv_heads, 12), (total, heads, 12)
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    with_sinks = SETTINGS[case.setting].get("sinks")
    return Inputs(*tensors, torch.randn(heads, generator=generator) if with_sinks else None)


def gradients(out: Tensor, dout: Tensor, *inputs: Tensor | None) -> list[Tensor]:
    """The output, and the gradients of inputs; no sinks, no gradient."""
    return [out.detach(), *torch.autograd.grad(out, [each for each in inputs if each is not None], dout)]


def leaf(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone().requires_grad_()


def whole(case: Case) -> list[Tensor]:
    """What one process gives."""
    given = drawn(case)
    q, k, v, sinks = (leaf(each) for each in (given.q, given.k, given.v, given.sinks))
    cu = cu_seqlens_from_lengths(LAYOUTS[case.lengths])
    longest = max(LAYOUTS[case.lengths])
    how = SETTINGS[case.setting] | {"sinks": sinks}
    out = flash_attn_varlen_func(q, k, v, cu, cu, longest, longest, backend="reference", **how)
    return gradients(out, given.dout, q, k, v, sinks)


def shared(case: Case, layout: ContextLayout, group: dist.ProcessGroup) -> list[Tensor]:
    """What this rank gives; the gradient of the sinks is added up over ranks."""
    rank, given = dist.get_rank(group), drawn(case)
    q, k, v = (leaf(take(each, layout, rank, 0)) for each in given[:3])
    sinks = leaf(given.sinks)
    how = {"causal": False, "window_size": (-1, -1), **SETTINGS[case.setting], "sinks": sinks}
    out = ContextParallel(layout, group, case.method).attend(q, k, v, **how)
    found = gradients(out, take(given.dout, layout, rank, 0), q, k, v, sinks)
    if sinks is not None:
        dist.all_reduce(found[-1], group=group)
    return found


def differences(case: Case, group: dist.ProcessGroup) -> tuple[list[float], bool]:
    """The largest of output and gradients, as parts of the largest value, and whether the same bits came again."""
    rank, ranks = dist.get_rank(group), dist.get_world_size(group)
    layout = METHODS[case.method](cu_seqlens_from_lengths(LAYOUTS[case.lengths]), ranks)
    found, right = shared(case, layout, group), whole(case)
    again = shared(case, layout, group) if twice(case) else found
    same = all(torch.equal(one, two) for one, two in zip(found, again, strict=True))
    worst = []
    for number, (ours, theirs) in enumerate(zip(found, right, strict=True)):
        mine = theirs if number == 4 else take(theirs, layout, rank, 0)
        assert ours.shape == mine.shape, (case, ours.shape, mine.shape)
        worst.append(float((ours - mine).abs().max() / theirs.abs().max()) if ours.numel() else 0.0)
    return worst, same


def work(rank: int, report: Path, store: str) -> None:
    """All cases in one of the four processes."""
    dist.init_process_group(
        "gloo", store=dist.FileStore(store, 4), rank=rank, world_size=4, timeout=timedelta(seconds=60)
    )
    pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    groups: list[tuple[int, Any]] = [(4, dist.group.WORLD), (2, pairs[rank // 2])]
    chosen = [(*group, case) for group in groups for case in cases() if wanted(group[0], case)]
    for ranks, group, case in chosen:
        worst, same = differences(case, group)
        numbers = torch.tensor([*worst, 0.0 if same else 1.0])
        dist.all_reduce(numbers, dist.ReduceOp.MAX, group=group)
        if rank == 0:
            line = {"ranks": ranks, "case": "-".join(case), "worst": numbers[:-1].tolist()}
            with report.open("a") as file:
                file.write(json.dumps(line | {"same_again": numbers[-1].item() == 0.0}) + "\n")
    dist.destroy_process_group()


def main() -> None:
    """Forks, waits, and fails where one of the processes has."""
    with tempfile.TemporaryDirectory() as folder:
        start_processes(work, (Path(sys.argv[1]), f"{folder}/store"), nprocs=4, start_method="fork")


if __name__ == "__main__":
    main()
