"""Which implementation is chosen, who may ask for another, and what is refused."""

import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sft_kernels import dispatch, env, implementations, rms_norm, use_backend
from sft_kernels.dispatch import Implementation, choose

X = torch.ones(2, 3)


def row(name: str, reason: str | None = None) -> Implementation:
    return Implementation(name, lambda *_: reason, f"nowhere.{name}")


@pytest.fixture(autouse=True)
def op(monkeypatch: pytest.MonkeyPatch) -> None:
    """An op `toy`: "fast" cannot run, "good" and "reference" can."""
    monkeypatch.setattr(dispatch, "_TABLES", {name: list(rows) for name, rows in dispatch._TABLES.items()})
    dispatch.add("toy", row("fast", "no such hardware"), row("good"), row("reference"))


def test_the_first_that_can_run_is_chosen_and_the_others_say_why_not() -> None:
    assert choose("toy", None, X) == "good"
    assert implementations("toy", X) == {"fast": "no such hardware", "good": None, "reference": None}


def test_the_nearest_request_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch.add("toy", row("a"), row("b"), row("c"), row("d"))
    monkeypatch.setattr(env, "BACKEND", "reference")
    assert choose("toy", None, X) == "reference"
    monkeypatch.setattr(env, "BACKEND_OF", {"toy": "b"})
    assert choose("toy", None, X) == "b"
    with use_backend("c"):
        assert choose("toy", None, X) == "c"
        with use_backend("d", "toy"):
            assert choose("toy", None, X) == "d"
            assert choose("toy", "good", X) == "good"
        assert choose("toy", None, X) == "c"
    assert choose("toy", None, X) == "b"


def test_a_request_for_all_ops_leaves_those_without_it_alone() -> None:
    with use_backend("good"):
        assert choose("toy", None, X) == "good"
        assert choose("rms_norm", None, X, None, None) == "reference"


def test_a_request_that_cannot_be_honoured_is_an_error_that_names_what_can() -> None:
    with pytest.raises(ValueError, match=r"backend= asks for 'fast'.*no such hardware.*Able to run: good, reference"):
        choose("toy", "fast", X)
    with use_backend("fast", "toy"), pytest.raises(ValueError, match="use_backend asks for 'fast'"):
        choose("toy", None, X)
    with pytest.raises(ValueError, match="toy has no implementation 'slow'; it has fast, good, reference"):
        choose("toy", "slow", X)


def test_names_that_do_not_exist_are_refused() -> None:
    for request in (
        lambda: use_backend("good", "toys"),
        lambda: use_backend("slow"),
        lambda: use_backend("slow", "toy"),
    ):
        with pytest.raises(ValueError, match=r"no op|no implementation"), request():
            pass
    with pytest.raises(ValueError, match=r"no op is named 'toys'; ops are .*rms_norm.*toy"):
        implementations("toys", X)
    with pytest.raises(ValueError, match="has an implementation named 'good' already"):
        dispatch.add("toy", row("good"))


def test_nothing_able_to_run_is_an_error_with_all_reasons() -> None:
    dispatch.add("hard", row("only", "needs a GPU"))
    with pytest.raises(ValueError, match=r"hard: nothing can run here: \{'only': 'needs a GPU'\}"):
        choose("hard", None, X)


def test_on_the_cpu_the_reference_runs_unless_the_interpreter_is_asked_for() -> None:
    assert choose("rms_norm", None, X, None, None) == "reference"
    reason = implementations("rms_norm", X, None, None)["triton"]
    assert (reason is None) == env.INTERPRETING
    if not env.INTERPRETING:
        with pytest.raises(ValueError, match=r"on 'cpu', not on a GPU .*TRITON_INTERPRET=1 is needed"):
            rms_norm(X, backend="triton")


@pytest.mark.skipif(not dispatch.HAS_TRITON, reason="needs triton")
def test_on_a_gpu_triton_runs_and_the_reference_is_a_warning() -> None:
    with FakeTensorMode():  # a device that need not be here
        narrow, wide = (torch.empty(2, width, device="cuda") for width in (4096, 2**17))
    assert choose("rms_norm", None, narrow, None, None) == "triton"
    with pytest.warns(UserWarning, match=r"rms_norm runs in plain PyTorch, which is slow: \{'triton': 'rows have"):
        assert choose("rms_norm", None, wide, None, None) == "reference"


def test_rows_too_wide_for_a_program_and_unknown_dtypes_have_a_reason() -> None:
    wide = torch.empty(1, 2**17)
    assert (
        implementations("rms_norm", wide, None, None)["triton"]
        == "rows have 131072 elements, and a program holds 32768"
    )
    if env.INTERPRETING:
        eight = X.to(torch.float8_e4m3fn)
        assert "float8_e4m3fn" in str(implementations("rms_norm", eight, None, None)["triton"])


@pytest.mark.parametrize(
    ("everything", "single", "message"),
    [
        ("reference", {"rms_norm": "reference"}, ""),
        ("cutlass", {}, "SFT_KERNELS_BACKEND=cutlass: no op has"),
        (None, {"rmsnorm": "triton"}, "SFT_KERNELS_BACKEND_RMSNORM=triton: no such op; ops are .*rms_norm"),
        (None, {"rms_norm": "cuda"}, "rms_norm has no implementation 'cuda'; it has triton, reference"),
    ],
)
def test_variables_that_name_nothing_are_refused(
    everything: str | None, single: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env, "BACKEND", everything)
    monkeypatch.setattr(env, "BACKEND_OF", single)
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        dispatch.check_environment()


def test_variables_are_read_and_checked_at_import() -> None:
    given = os.environ | {"SFT_KERNELS_BACKEND_RMS_NORM": "cuda"}
    command = [sys.executable, "-W", "ignore", "-c", "import sft_kernels"]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    assert "rms_norm has no implementation 'cuda'" in done.stderr
