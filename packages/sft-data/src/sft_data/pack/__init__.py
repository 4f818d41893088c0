"""Pack: lengths to a plan of rows."""

from sft_data.pack.balance import attention_cost, deal_evenly, steps_alike
from sft_data.pack.by_room import best_fit_decreasing, shortest_pack_first
from sft_data.pack.cut import lost_labels
from sft_data.pack.first_fit import first_fit_decreasing
from sft_data.pack.next_fit import next_fit
from sft_data.pack.plan import plan_packs
from sft_data.pack.stream import PackStream, pack_stream

__all__ = [
    "PackStream",
    "attention_cost",
    "best_fit_decreasing",
    "deal_evenly",
    "first_fit_decreasing",
    "lost_labels",
    "next_fit",
    "pack_stream",
    "plan_packs",
    "shortest_pack_first",
    "steps_alike",
]
