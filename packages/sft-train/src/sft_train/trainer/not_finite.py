"""Where a loss or gradient that is not a number comes from: batch, rows of the data, and layer.

The step is done again, micro batch by micro batch, with an eye on every layer. That costs nothing before it happens,
and nothing matters any more afterwards: the run stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import DistributedType
from torch import Tensor, nn

from sft_data import SampleStore
from sft_train.trainer.rows import Samples

TOGETHER = (DistributedType.FSDP, DistributedType.DEEPSPEED)
"""Ways in which no process can run the model alone, so that none can look for itself."""
_SHOWN = 8
"""Rows that are named."""


@dataclass(frozen=True, slots=True)
class StepInHand:
    """An optimizer step while it is done.

    Attributes:
        batches: its micro batches on this process.
        rows: what each of them holds, see `EpochRows.batch`.
        weight: of the step's trained tokens, float32 `[]`.
    """

    batches: Sequence[Mapping[str, Any]]
    rows: Sequence[Sequence[Samples]]
    weight: Tensor

    def cause(self, model: nn.Module, loss: Callable[[Mapping[str, Any], Tensor], Tensor], store: SampleStore) -> str:
        """The first micro batch, rows and layer with a value that is not finite, as the end of a sentence.

        Args:
            model: not wrapped. Its gradients are lost.
            loss: of a micro batch, from the weight of the step.
            store: tells where samples come from.
        """
        for number, batch in enumerate(self.batches):
            found = first_not_finite(model, lambda batch=batch: loss(batch, self.weight))
            if found is not None:
                place = f"micro batch {number + 1} of {len(self.batches)}"
                return f": first in {place}, in {found}; its rows are {named(self.rows[number], store)}"
        return "; no micro batch of this process shows it when it is done again"


def named(rows: Sequence[Samples], store: SampleStore) -> str:
    """File and line, or data set and row number, of the samples in a micro batch.

    Args:
        rows: int64 `[k]`, samples, or `[k, 3]`, pieces of samples, for each packed row.
        store: of these samples.
    """
    samples = dict.fromkeys(int(each) for row in rows for each in (row if row.ndim == 1 else row[:, 0]))
    places = [store[each].origin.place for each in list(samples)[:_SHOWN]]
    more = f" and {len(samples) - _SHOWN} more" if len(samples) > _SHOWN else ""
    return ", ".join(places) + more


def first_not_finite(model: nn.Module, loss: Callable[[], Tensor]) -> str | None:
    """The layer where a forward or backward pass first gives a value that is not finite.

    Args:
        model: whose layers are watched.
        loss: runs it. Where gradients are on and the outputs are finite, the backward pass is run too.

    Returns:
        Such as "the output of model.layers.0.mlp (its weight is not finite)"; None when all is finite.
    """
    found: list[str] = []
    model.zero_grad()
    with _watched(model, found):
        total = loss()
        if not found and total.requires_grad:
            total.backward()
    if found:
        return found[0]
    if not bool(total.isfinite().all()):
        return "the loss itself"
    # The backward pass comes to the first weights last.
    grads = [(name, each.grad) for name, each in model.named_parameters() if each.grad is not None]
    bad = [name for name, grad in reversed(grads) if not bool(grad.isfinite().all())]
    return f"the gradient of {bad[0]}" if bad else None


@contextmanager
def _watched(model: nn.Module, found: list[str]) -> Iterator[None]:
    """Notes each layer whose output, or the gradient of whose output, is not finite, in the order of the passes."""

    def watch(name: str, module: nn.Module) -> Callable[..., None]:
        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            for tensor in _floats(output):
                if not bool(tensor.isfinite().all()):
                    found.append(f"the output of {name}{_own_weights(module)}")
                elif tensor.requires_grad:
                    tensor.register_hook(note)

        def note(gradient: Tensor) -> None:
            if not bool(gradient.isfinite().all()):
                found.append(f"the gradient at the output of {name}")

        return look

    parts = model.named_modules()
    handles = [module.register_forward_hook(watch(name or "the model", module)) for name, module in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _floats(output: Any) -> Iterator[Tensor]:
    """Tensors of numbers in what a layer gives: one, several, or by name."""
    if isinstance(output, Tensor):
        if output.is_floating_point() and output.numel():
            yield output
        return
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    for each in parts:
        yield from _floats(each)


def _own_weights(module: nn.Module) -> str:
    bad = [
        name
        for name, each in module.named_parameters(recurse=False)
        if each.is_floating_point() and not bool(torch.isfinite(each).all())
    ]
    return f" (its {' and '.join(bad)} hold{'s' if len(bad) == 1 else ''} values that are not finite)" if bad else ""
