"""`python -m sft_cli`, which is what `torchrun -m sft_cli train config.yaml` needs."""

from __future__ import annotations

import sys

from sft_cli.main import main

sys.exit(main())
