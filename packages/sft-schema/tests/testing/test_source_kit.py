"""check_source accepts a source that accounts for every row and names what another does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from sft_schema import ContractError, DataError
from sft_schema.config import DatasetConfig
from sft_schema.record import RowOrigin
from sft_schema.testing import GivenRow, check_source

CFG = DatasetConfig(path="memory")
GONE = DatasetConfig(path="gone")


@dataclass
class Bad:
    origin: RowOrigin
    reason: str
    detail: str


def origin(row: int, place: str | None = None) -> RowOrigin:
    return RowOrigin("memory", row, f"memory {row}" if place is None else place)


def read(cfg: DatasetConfig) -> Iterator[Any]:
    if cfg.path != "memory":
        raise DataError("there is no such thing", where=cfg.path, fix="choose memory")
    yield GivenRow({"text": "a"}, origin(0))
    yield Bad(origin(1), "not_json", "line 1 is no JSON")
    yield GivenRow({"text": "b"}, origin(2))


def test_a_source_that_accounts_for_every_row_passes() -> None:
    assert check_source(read, CFG, missing=GONE) == 3


def rows(*given: Any) -> Callable[[DatasetConfig], list[Any]]:
    return lambda cfg: list(given)


class Changes:
    """A source that reads something else the second time."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, cfg: DatasetConfig) -> list[Any]:
        self.calls += 1
        return [GivenRow({"text": str(self.calls)}, origin(0))]


GOOD = GivenRow({"text": "a"}, origin(0))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (rows(), "has no usable row"),
        (rows(Bad(origin(0), "not_json", "no JSON")), "has no usable row"),
        (rows(GOOD, GivenRow({"text": "b"}, origin(2))), "row 1 of 'memory' says it is"),
        (rows(GivenRow({"text": "b"}, RowOrigin("x", 0, "y"))), "row 0 of 'memory' says it is"),
        (rows(GivenRow({"text": "b"}, origin(0, ""))), "says it is"),
        (rows(GOOD, GivenRow({"text": "b"}, origin(1, "memory 0"))), "2 rows of 'memory' name 1 places"),
        (rows({"text": "b"}), "row 0 of 'memory' has no `origin`"),
        (rows(GivenRow({1: "b"}, origin(0))), "whose name is not a text"),  # type: ignore[dict-item]
        (rows(GOOD, Bad(origin(1), "", "no JSON")), "neither `values` nor `reason` and `detail`"),
        (Changes(), "reading 'memory' twice gives two different lists"),
    ],
)
def test_a_wrong_source_is_named(source: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_source(source, CFG)


def test_a_missing_data_set_has_to_end_in_an_error_that_names_it() -> None:
    with pytest.raises(ContractError, match="'gone' does not exist and gave 1 rows"):
        check_source(rows(GOOD), CFG, missing=GONE)

    def nameless(cfg: DatasetConfig) -> list[Any]:
        if cfg.path == "gone":
            raise DataError("nothing there", where="somewhere", fix="none")
        return [GOOD]

    with pytest.raises(ContractError, match="does not name the missing data set 'gone'"):
        check_source(nameless, CFG, missing=GONE)
