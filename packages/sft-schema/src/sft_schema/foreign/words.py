"""What is said about a key of another system: the problem, and what to write instead."""

from __future__ import annotations

from typing import Any

from sft_schema.foreign.answer import Answer, Refusal, Rewrite
from sft_schema.foreign.flow import said, shown
from sft_schema.foreign.scopes import Scope


def problem(scope: Scope, key: str, value: Any, answer: Rewrite | Refusal) -> tuple[str, str]:
    """Message and fix for a key that cannot stay."""
    row = None if key in scope.own else scope.rows[key]
    if isinstance(answer, Refusal):
        return f"{shown(key, value)}{f' ({row.system})' if row else ''}: {answer.reason}", answer.nearest
    whose = f"a setting of {row.system}" if row else shown(key, value)
    return f"{whose}, said in other words here", f"write {said(answer.settings)}"


def remark(scope: Scope, key: str, value: Any, answer: Answer) -> tuple[str, str]:
    """Message and advice for a key that was left out because it makes no difference."""
    whose = "" if key in scope.own else f" ({scope.rows[key].system})"
    why = answer.why if isinstance(answer, Rewrite) else "it asks for what is done anyway"
    return f"{shown(key, value)}{whose}, not needed here: {why}", "it can be removed"


def meaning(scope: Scope, key: str, value: Any) -> str:
    """One sentence on a key of another system, for somebody who misspelt it."""
    row, answer = scope.rows[key], scope.answer(key, value)
    if isinstance(answer, Refusal):
        return f"{row.system} has it; {answer.reason}: {answer.nearest}"
    if isinstance(answer, Rewrite):
        return f"{row.system} has it; " + (f"write {said(answer.settings)}" if answer.settings else "remove it")
    return f"{row.system} has it; with this value it can be removed"
