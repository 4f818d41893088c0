"""Trains, prints the first and last losses, and fails if the model learned nothing or too much was imported."""

import math
import sys

from kernels_only import train

losses = train()
first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
sys.stdout.write(f"loss {first:.3f} -> {last:.3f}; without attention {math.log(3):.3f} at best\n")
if not last < 0.7 * math.log(3):
    sys.exit("the model did not learn to count")
unwanted = sorted({name.partition(".")[0] for name in sys.modules} & {"transformers", "sft_schema", "sft_data"})
if unwanted:
    sys.exit(f"loaded beside sft_kernels: {unwanted}")
