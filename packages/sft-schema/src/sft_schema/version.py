"""Versions of what is written down, and the steps from an old version to the present one.

`CONFIG_VERSION` counts the meanings of YAML keys, `RECORDS_VERSION` those of the records and prepared files. A version
goes up when something that was written for the one before would be refused or mean something else; the step that
rewrites it goes into the table below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sft_schema.constants import CONFIG_VERSION, RECORDS_VERSION
from sft_schema.errors import DataError

__all__ = ["CONFIG_MIGRATIONS", "CONFIG_VERSION", "RECORDS_MIGRATIONS", "RECORDS_VERSION", "Migration", "upgrade"]

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Migration:
    """One step, from version `since` to the next.

    Attributes:
        since: the version that it reads.
        summary: what changes, as one sentence.
        change: gives the values of version `since + 1`; must not change its argument.
    """

    since: int
    summary: str
    change: Callable[[Values], Values]


CONFIG_MIGRATIONS: tuple[Migration, ...] = ()
RECORDS_MIGRATIONS: tuple[Migration, ...] = ()


def upgrade(
    values: Values, since: int, migrations: Sequence[Migration], *, to: int, where: str
) -> tuple[Values, tuple[str, ...]]:
    """Values of an old version as values of version `to`.

    Args:
        values: what was written down.
        since: the version it was written in.
        migrations: `CONFIG_MIGRATIONS` or `RECORDS_MIGRATIONS`.
        to: `CONFIG_VERSION` or `RECORDS_VERSION`.
        where: names the file in errors.

    Returns:
        The values, and the summary of every step taken.

    Raises:
        DataError: it was written by a newer version, or no chain of steps leads from it.
    """
    if since > to:
        message = f"was written in version {since}; this program knows versions up to {to}"
        raise DataError(message, where=where, fix="update this program")
    steps = {step.since: step for step in migrations}
    taken: list[str] = []
    for version in range(since, to):
        if version not in steps:
            message = f"was written in version {since}, and nothing leads from version {version} to {version + 1}"
            raise DataError(message, where=where, fix="write it again with this version")
        values = steps[version].change(values)
        taken.append(steps[version].summary)
    return values, tuple(taken)
