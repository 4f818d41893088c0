"""Pack: lengths to a plan of rows."""

from sft_data.pack.best_fit import best_fit_decreasing
from sft_data.pack.plan import plan_packs

__all__ = ["best_fit_decreasing", "plan_packs"]
