"""Pack: lengths to a plan of rows."""

from sft_data.pack.first_fit import first_fit_decreasing
from sft_data.pack.plan import plan_packs

__all__ = ["first_fit_decreasing", "plan_packs"]
