"""What importing the package loads."""

import subprocess
import sys


def test_importing_loads_no_torch_transformers_or_datasets() -> None:
    program = "import sft_data, sys; print(sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
