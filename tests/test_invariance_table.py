"""One table: a step's loss, gradients and held-out loss, in every way that the trainer computes them."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / "tools" / "invariance"
sys.path.insert(0, str(TOOL))
cells, table = importlib.import_module("cells"), importlib.import_module("table")
sys.path.remove(str(TOOL))


@pytest.fixture(scope="module")
def found() -> dict[tuple[object, ...], tuple[float | None, ...]]:
    command = [sys.executable, TOOL / "table.py", "--ci", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.stdout, done.stderr
    return dict(map(table.of_row, json.loads(done.stdout)))


@pytest.mark.slow
def test_every_cell_is_the_same_step_to_the_tolerance(found: dict) -> None:
    right = {cell: each for cell, each in found.items() if not cell.fault}
    assert {cell for cell in right if cell.attention != cells.TRITON} == {
        cell for ranks in cells.RANKS for cell in cells.cells(ranks) if cell.attention != cells.TRITON
    }
    assert {(cell.layout, cell.ranks) for cell in right if cell.attention == cells.TRITON} == {
        (layout, ranks) for layout in cells.LAYOUTS for ranks in cells.RANKS
    }
    assert table.outside(right) == []
    assert all((each.gradient is None) == (cell.attention == cells.FLEX) for cell, each in right.items())


@pytest.mark.slow
def test_a_mistake_in_the_trainer_or_its_batches_is_outside_the_tolerance(found: dict) -> None:
    """The negative control: what the table compares would show the mistakes that it is there for."""
    wrong = {cell: each for cell, each in found.items() if cell.fault}
    assert {cell.fault for cell in wrong} == set(cells.FAULTS)
    assert {cell.attention for cell in wrong if cell.fault == "leak"} == set(cells.ATTENTION)
    assert table.outside(wrong) == []
    held_out_alone = [each for cell, each in wrong.items() if cell.fault == "eval mean of means"]
    assert all(each.loss < cells.TOLERANCE < cells.SEEN_FROM < each.held_out for each in held_out_alone)


def test_a_cell_that_is_off_and_a_mistake_that_is_not_are_named() -> None:
    cell = cells.Cell("sdpa", "packed", "full", "equal", "1x8", 1)
    far, near, none = (cells.Differences(0.0, each, 0.0) for each in (2e-5, 2e-6, float("nan")))
    assert table.outside({cell: near}) == []
    assert ["is over 1e-05" in line for line in table.outside({cell: far})] == [True]
    assert ["is over 1e-05" in line for line in table.outside({cell: none})] == [True]
    assert ["must show" in line for line in table.outside({cell._replace(fault="leak"): near})] == [True]


def test_the_page_has_the_cells_of_the_table_and_none_is_empty() -> None:
    every = {cell: cells.Differences(0.0, 0.0, 0.0) for ranks in cells.RANKS for cell in cells.cells(ranks)}
    wanted = [rows_of(line) for line in table.table(every)]
    page = [rows_of(line) for line in table.PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    page = page[: len(wanted)]
    assert page[:2] == wanted[:2]
    assert [row[:4] for row in page] == [row[:4] for row in wanted]
    assert all(all(row) for row in page)


def rows_of(line: str) -> list[str]:
    """The cells of a line of a table."""
    return [part.strip() for part in line.strip().strip("|").split("|")]
