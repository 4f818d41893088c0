"""Old versions are brought to the present one step by step, or refused with the step that is missing."""

import pytest

from sft_schema import CONFIG_VERSION, RECORDS_VERSION, DataError
from sft_schema.version import CONFIG_MIGRATIONS, RECORDS_MIGRATIONS, Migration, Values, upgrade


def renamed(values: Values) -> Values:
    return {("new_name" if key == "old_name" else key): value for key, value in values.items()}


def doubled(values: Values) -> Values:
    return {**values, "new_name": 2 * values["new_name"]}


MADE_UP = (
    Migration(2, "new_name counts halves.", doubled),
    Migration(1, "old_name is called new_name.", renamed),
)


def test_values_go_through_every_step_in_order() -> None:
    old = {"old_name": 3, "kept": "x"}
    assert upgrade(old, 1, MADE_UP, to=3, where="c.yaml") == (
        {"new_name": 6, "kept": "x"},
        ("old_name is called new_name.", "new_name counts halves."),
    )
    assert old == {"old_name": 3, "kept": "x"}
    assert upgrade({"new_name": 3}, 2, MADE_UP, to=3, where="c.yaml") == ({"new_name": 6}, ("new_name counts halves.",))


def test_the_present_version_is_left_alone() -> None:
    values = {"a": 1}
    assert upgrade(values, CONFIG_VERSION, CONFIG_MIGRATIONS, to=CONFIG_VERSION, where="c.yaml") == (values, ())
    assert upgrade(values, RECORDS_VERSION, RECORDS_MIGRATIONS, to=RECORDS_VERSION, where="m.json") == (values, ())


def test_a_newer_version_is_refused() -> None:
    with pytest.raises(DataError, match=r"c\.yaml: was written in version 4; this program knows versions up to 3"):
        upgrade({}, 4, MADE_UP, to=3, where="c.yaml")


def test_a_missing_step_is_named() -> None:
    with pytest.raises(DataError, match=r"written in version 1, and nothing leads from version 3 to 4"):
        upgrade({"old_name": 1}, 1, MADE_UP, to=4, where="c.yaml")


@pytest.mark.parametrize(
    ("table", "current"), [(CONFIG_MIGRATIONS, CONFIG_VERSION), (RECORDS_MIGRATIONS, RECORDS_VERSION)]
)
def test_a_step_leads_from_every_old_version(table: tuple[Migration, ...], current: int) -> None:
    assert sorted(step.since for step in table) == list(range(1, current))
