"""Puts this package's ops into a model of transformers (or of the same structure), and takes them out again.

Only instances change: a module gets a ``forward`` of its own, and no class and no function of another package is
touched. A module is recognised by its structure and then by numbers: its own forward, with small random weights, has
to give what the op gives, gradients included. transformers is not imported.
"""

from collections import Counter
from collections.abc import Callable, Collection
from typing import NamedTuple

from torch import nn

from sft_kernels.replace.mlp import plan_glu
from sft_kernels.replace.norm import plan_layer_norm, plan_rms_norm
from sft_kernels.replace.plan import Change, Plan
from sft_kernels.replace.rotary import plan_qk_norm_rope, plan_rope
from sft_kernels.replace.trial import trial

__all__ = ["OPS", "Replacements", "Row", "apply", "nothing"]

_PLANS: dict[str, Callable[[nn.Module], Plan]] = {  # a module that one op takes is none of the later ones' business
    "qk_norm_rope": plan_qk_norm_rope,
    "rope": plan_rope,
    "rms_norm": plan_rms_norm,
    "layer_norm": plan_layer_norm,
    "glu": plan_glu,
}
OPS = tuple(_PLANS)
"""What can be replaced: `qk_norm_rope` (Qwen3, Gemma 3), `rope`, `rms_norm`, `layer_norm`, `glu` (MLPs, experts)."""


class Row(NamedTuple):
    """What became of a module."""

    path: str
    """Where it is in the model."""
    kind: str
    """Its class."""
    op: str
    reason: str | None
    """Why it was left as it is; None: it was replaced."""


class Replacements:
    """What `apply` did.

    Attributes:
        rows: one for each module that an op looked at.
    """

    def __init__(self, rows: tuple[Row, ...], done: list[Change]) -> None:
        self.rows = rows
        self._done = done

    @property
    def replaced(self) -> dict[str, int]:
        """How many modules each op replaced."""
        return dict(Counter(row.op for row in self.rows if row.reason is None))

    @property
    def left(self) -> dict[str, int]:
        """Modules left as they are: ``"op: class: reason"`` and how many."""
        return dict(Counter(f"{row.op}: {row.kind}: {row.reason}" for row in self.rows if row.reason is not None))

    def undo(self) -> None:
        """Gives the modules their own forwards back; a second call does nothing.

        Raises:
            RuntimeError: something else has replaced a forward since; nothing is undone.
        """
        for change in self._done:
            if change.module.__dict__.get(change.attribute) is not change.value:
                kind = type(change.module).__name__
                raise RuntimeError(f"{kind}.{change.attribute} was replaced again by something else; undo that first")
        for change in self._done:
            delattr(change.module, change.attribute)
        self._done = []


def apply(model: nn.Module, ops: Collection[str] | None = None, device: str | None = None) -> Replacements:
    """Replaces forwards of the model's modules by this package's ops.

    It works on a model with adapters of peft and with gradient checkpointing; call it when adapters are in place, and
    before the model is compiled or sharded.

    Args:
        model: of any structure; what is not recognised is left as it is.
        ops: some of `OPS`; None is all of them, and then it is no error when one finds nothing.
        device: where the model will run, such as ``"cuda"``: each op is first tried there against its reference, and
            replaces nothing where they differ. None tries nothing.

    Returns:
        What was replaced, what was not and why, and the way back.

    Raises:
        ValueError: no such op, or an op of `ops` recognises no module; the message has the reasons. The model is then
            as it was.
    """
    unknown = sorted(set(ops or ()) - set(OPS))
    if unknown:
        raise ValueError(f"replace.apply: there is no op {unknown[0]!r}; choose from {', '.join(OPS)}")
    rows: list[Row] = []
    done: list[Change] = []
    for op in OPS if ops is None else [op for op in OPS if op in ops]:
        _replace(model, op, device, rows, done)
    replacements = Replacements(tuple(rows), done)
    missing = [op for op in ops or () if op not in replacements.replaced]
    if missing:
        why = "; ".join(text for text in replacements.left if text.startswith(f"{missing[0]}: ")) or "no module has it"
        replacements.undo()
        raise ValueError(f"replace.apply: nothing in this model can be replaced by {missing[0]}: {why}; leave it out")
    return replacements


def nothing() -> Replacements:
    """What `apply` returns when nothing is replaced."""
    return Replacements((), [])


def _replace(model: nn.Module, op: str, device: str | None, rows: list[Row], done: list[Change]) -> None:
    """Does one op's part, and adds to what was done."""
    taken = {id(change.module) for change in done}
    for path, module in model.named_modules():
        plan = None if id(module) in taken else _PLANS[op](module)
        if plan is None:
            continue
        if not isinstance(plan, str) and device is not None:
            plan = trial(op, device) or plan
        rows.append(Row(path, type(module).__name__, op, plan if isinstance(plan, str) else None))
        for change in () if isinstance(plan, str) else plan:
            taken.add(id(change.module))
            setattr(change.module, change.attribute, change.value)
            done.append(change)
