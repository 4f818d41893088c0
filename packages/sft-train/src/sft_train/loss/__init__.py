"""The loss."""

from sft_train.loss.next_token import ForwardCall, forward_call, logits_at, next_token_nll

__all__ = ["ForwardCall", "forward_call", "logits_at", "next_token_nll"]
