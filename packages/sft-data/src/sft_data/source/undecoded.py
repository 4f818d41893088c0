"""Pictures of data sets that the datasets library loads, as the bytes of their files, not decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

_ROWS_AT_A_TIME = 256


def undecoded(data: Any) -> Iterable[dict[str, Any]]:
    """The rows of a `datasets.Dataset`; pictures in them as `{"bytes", "path"}`, not as pictures of Pillow."""
    return _raw(data) if _has_pictures(getattr(data, "features", None)) else data


def _raw(data: Any) -> Iterator[dict[str, Any]]:
    for table in data.with_format("arrow").iter(batch_size=_ROWS_AT_A_TIME):
        yield from table.to_pylist()


def _has_pictures(feature: Any) -> bool:
    """Whether a feature of the datasets library is, or holds, its `Image`."""
    if isinstance(feature, dict):
        return any(_has_pictures(each) for each in cast("dict[str, Any]", feature).values())
    if isinstance(feature, list):
        return any(_has_pictures(each) for each in cast("list[Any]", feature))
    inner: Any = getattr(feature, "feature", None)
    return type(feature).__name__ == "Image" or (inner is not None and _has_pictures(inner))
