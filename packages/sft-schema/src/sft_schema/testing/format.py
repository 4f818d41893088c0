"""Contract of a format: a row to an example, or a refusal with a reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

from sft_schema.check import check_example
from sft_schema.config import DatasetConfig
from sft_schema.errors import ContractError
from sft_schema.record import Conversation, Example, RowOrigin, Segments, Tokens

_ODD: tuple[Any, ...] = (None, 7, 0.5, True, "", "{", [], [None], [[]], {}, {"": None}, "\ud800", "\x00")
_REASON = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class GivenRow:
    """A row as a source hands it to a format.

    Attributes:
        values: column to value.
        origin: where it stands.
    """

    values: dict[str, Any]
    origin: RowOrigin


def check_format(
    form: Callable[[Any, DatasetConfig], Example],
    rows: Sequence[Mapping[str, Any]],
    cfg: DatasetConfig | None = None,
) -> int:
    """Rows become examples, and damaged rows examples or refusals; nothing else happens.

    A format gives the same example for the same row, does not write into the row, and makes at least one message or
    segment. Then every row is damaged in every place: a key is left out, a value replaced by one of another type. The
    format may make something of it, or refuse it with an exception that has a `reason`, a short name in lower case
    that is counted, and a `detail`, one sentence. A KeyError in the middle of a million rows is what this is for.

    Args:
        form: called as `form(row, cfg)`; a row has `values` and `origin`.
        rows: contents of rows that the format is made for; at least one.
        cfg: the data set's settings; the defaults when not given.

    Returns:
        How many rows were tried, damaged ones included.

    Raises:
        ContractError: a promise is broken, with the row.
    """
    if not rows:
        raise ContractError("check_format needs at least one row that the format is made for")
    settings = cfg if cfg is not None else DatasetConfig(path="rows.jsonl")
    tried = 0
    for values in rows:
        _check_good(form, dict(values), settings)
        tried += 1
        for damaged in _damaged(dict(values)):
            _outcome(form, damaged, settings)
            tried += 1
    return tried


def _check_good(form: Callable[[Any, DatasetConfig], Example], values: dict[str, Any], cfg: DatasetConfig) -> None:
    example = _outcome(form, values, cfg)
    if example is None:
        raise ContractError(f"a row that the format is made for is refused: {values!r}")
    if _outcome(form, values, cfg) != example:
        raise ContractError(f"two calls with one row give two examples: {values!r}")


def _outcome(form: Callable[[Any, DatasetConfig], Example], values: dict[str, Any], cfg: DatasetConfig) -> Any:
    """The example, or None when the row is refused as it should be."""
    row = GivenRow(deepcopy(values), RowOrigin(cfg.path, 0, f"{cfg.path}:1"))
    try:
        example = form(row, cfg)
    except Exception as error:  # noqa: BLE001 - whatever it raises is what is checked here
        _check_refusal(error, values)
        example = None
    if repr(row.values) != repr(values):
        raise ContractError(f"the format wrote into its row: {values!r} became {row.values!r}")
    if example is not None:
        _check_example(example, values)
    return example


def _check_refusal(error: Exception, values: dict[str, Any]) -> None:
    reason, detail = getattr(error, "reason", None), getattr(error, "detail", None)
    if not isinstance(reason, str) or not isinstance(detail, str):
        message = f"{type(error).__name__} instead of a refusal with `reason` and `detail`, for {values!r}: {error}"
        raise ContractError(message) from error
    if not _REASON.fullmatch(reason):
        raise ContractError(f"the reason {reason!r} is not a short name such as 'missing_column'") from error
    if not detail.strip():
        raise ContractError(f"the refusal {reason!r} has no detail, for {values!r}") from error


def _check_example(example: object, values: dict[str, Any]) -> None:
    if not isinstance(example, Conversation | Segments | Tokens):
        raise ContractError(f"{type(example).__name__} is no Conversation, Segments or Tokens, for {values!r}")
    try:
        check_example(example)
    except ContractError as error:
        raise ContractError(f"{error}, for {values!r}") from None


def _damaged(value: Any) -> Iterator[Any]:
    """The value with one place in it changed, for every place."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        for key in items:
            yield {name: each for name, each in items.items() if name != key}
            yield from ({**items, key: each} for each in (*_ODD, *_damaged(items[key])))
    elif isinstance(value, list):
        listed = cast("list[Any]", value)
        yield []
        for index, item in enumerate(listed):
            yield from ([*listed[:index], each, *listed[index + 1 :]] for each in (*_ODD, *_damaged(item)))
