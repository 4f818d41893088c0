"""Every setting is documented, sections stay small, and importing stays light."""

import subprocess
import sys

import pytest

from sft_schema.config import BitsAndBytesSettings, DatasetConfig, Section, SftConfig, SpecialTokens

SECTIONS = [base for base in SftConfig.__mro__ if issubclass(base, Section) and base not in (SftConfig, Section)]


@pytest.mark.parametrize(
    "section", [*SECTIONS, DatasetConfig, SpecialTokens, BitsAndBytesSettings], ids=lambda each: each.__name__
)
def test_a_section_has_few_settings_and_a_sentence_for_each(section: type[Section]) -> None:
    own = [name for name in section.model_fields if name in section.__annotations__]
    assert 0 < len(own) <= 30
    for name, field in section.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_no_setting_is_defined_in_two_sections() -> None:
    names = [name for section in SECTIONS for name in section.model_fields]
    assert sorted(names) == sorted(set(names)) == sorted(SftConfig.model_fields)


def test_importing_loads_only_pydantic_and_yaml() -> None:
    program = "import sft_schema, sys; print(sorted({'torch', 'numpy', 'transformers', 'jinja2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
