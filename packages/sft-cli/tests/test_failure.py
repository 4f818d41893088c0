from __future__ import annotations

import errno

import pytest

from sft_cli.failure import report
from sft_schema.errors import ConfigError, ContractError, DataError, Issue, TrainingError

ISSUE = Issue("unknown_key", ("a",), "there is no setting 'a'", "remove it", "c.yaml", 3, 1)


@pytest.mark.parametrize(
    ("error", "code", "parts"),
    [
        (ConfigError([ISSUE]), 2, ["c.yaml:3:1: a", "fix: remove it"]),
        (DataError("broken", where="d.jsonl:7", fix="mend it"), 2, ["d.jsonl:7: broken", "fix: mend it"]),
        (TrainingError("loss is nan", fix="lower learning_rate"), 1, ["loss is nan", "fix: lower learning_rate"]),
        (ContractError("a row is missing"), 1, ["ContractError: a row is missing", "--debug"]),
        (ValueError("two\nlines"), 1, ["ValueError: two lines", "--debug"]),
        (KeyError(), 1, ["KeyError: no message"]),
        (MemoryError(), 1, ["MemoryError", "micro_batch_size"]),
        (ModuleNotFoundError("No module named 'x'"), 1, ["No module named 'x'", "install"]),
        (PermissionError(errno.EACCES, "denied", "/out"), 1, ["/out", "output_dir"]),
        (OSError(errno.ENOSPC, "No space left on device"), 1, ["free disk space"]),
    ],
)
def test_cause_and_fix_are_printed_with_the_exit_code(
    error: Exception, code: int, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(error, debug=False) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(part in shown.err for part in parts)
    assert "fix:" in shown.err
    assert "Traceback" not in shown.err


def test_an_error_of_a_library_is_one_line_of_cause_and_one_of_fix(capsys: pytest.CaptureFixture[str]) -> None:
    report(RuntimeError("a\n\nb\tc"), debug=False)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_an_out_of_memory_error_of_a_subclass_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    out_of_memory = type("OutOfMemoryError", (RuntimeError,), {})
    report(type("Special", (out_of_memory,), {})("CUDA out of memory"), debug=False)
    assert "micro_batch_size" in capsys.readouterr().err


def test_control_characters_of_a_message_are_not_sent_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (ValueError("\x1b[2J"), DataError("\x1b[2J", where="\x07", fix="\x00")):
        report(error, debug=False)
        assert not set(capsys.readouterr().err) & set("\x1b\x07\x00")
