"""The same loss over rows that are filled up to one length, as models that see pictures take them.

row 0    a0  a1  a2  a3          a2, a3 and b3 are trained
row 1    b0  b1  b2  b3          columns     1, 2: positions before a trained token, in any row
                                 predict_at  0, 1, 3 of the 2 x 2 rows and columns: a1, a2, b2
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sft_train.loss.next_token import ForwardCall, summed_nll


def padded_nll(model: nn.Module, batch: Mapping[str, Any], call: ForwardCall) -> Tensor:
    """Summed negative log-likelihood of a micro batch's trained tokens; see `next_token_nll`.

    Args:
        model: takes what the model's processor gives; possibly wrapped for several processes.
        batch: `model_inputs` of b rows of t tokens; `columns` int64 `[c]`; `predict_at` int64 `[k]`, indices into the
            b x c pairs of row and column; `targets` int64 `[k]`: the tokens that come next there; it may have
            `target_weights` float32 `[k]`.
        call: see `forward_call`.

    Returns:
        float32 scalar, 0 with zero gradients for k = 0.
    """
    columns = batch["columns"]
    extra = {"logits_to_keep": columns} if call.logits_to_keep else {}
    logits: Tensor = model(**batch["model_inputs"], use_cache=False, **extra).logits
    if not call.logits_to_keep:
        logits = logits[:, columns]
    return summed_nll(logits.flatten(0, 1)[batch["predict_at"]], batch["targets"], batch.get("target_weights"))
