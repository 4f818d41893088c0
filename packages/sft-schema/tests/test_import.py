"""What importing the package brings with it."""

import subprocess
import sys

import pytest


def modules_after(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_an_import_compiles_no_class_and_reads_no_tables_of_other_systems() -> None:
    found = modules_after("import sft_schema; sft_schema.SftConfig")
    assert "sft_schema.config.root" in found
    assert not {"sft_schema.load", "sft_schema.foreign", "yaml", "importlib.metadata"} & found
    assert "sft_schema.foreign" in modules_after("from sft_schema import load_config")


def test_the_package_has_no_other_lazy_names() -> None:
    import sft_schema

    assert set(sft_schema.__all__) <= {*dir(sft_schema), "load_config", "parse_config"}
    assert callable(sft_schema.load_config)
    with pytest.raises(AttributeError, match="has no attribute 'load_confg'"):
        _ = sft_schema.load_confg
