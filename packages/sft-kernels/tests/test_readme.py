"""The README's example runs and prints what its comments say."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_example_prints_what_it_says():
    example = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    promised = re.findall(r"^print\(.*\)\s+# (.+)$", example, re.MULTILINE)
    result = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)
    assert len(promised) == 4
    assert result.stdout.splitlines() == promised, result.stderr
