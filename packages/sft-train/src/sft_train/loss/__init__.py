"""The loss."""

from sft_train.loss.choose import SummedLoss, summed_loss
from sft_train.loss.next_token import ForwardCall, forward_call, logits_at, next_token_nll, total_weight
from sft_train.loss.padded import padded_nll

__all__ = [
    "ForwardCall",
    "SummedLoss",
    "forward_call",
    "logits_at",
    "next_token_nll",
    "padded_nll",
    "summed_loss",
    "total_weight",
]
