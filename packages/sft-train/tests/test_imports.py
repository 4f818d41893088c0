from __future__ import annotations

import subprocess
import sys


def test_observer_is_importable_without_waiting_for_torch() -> None:
    code = "import sys, sft_train.observer; print(any(n in sys.modules for n in ('torch', 'transformers')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
