"""How the loss is computed."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting

Plugin = Literal["axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"]
"""Plugins of axolotl whose work is done here without them."""


class LossSection(Section):
    """The loss and what is added to the model's inputs for it."""

    chunked_cross_entropy: bool = setting(
        "Compute the logits a part at a time, so that they never fill the memory, whatever the head is.",
        False,
    )
    chunked_cross_entropy_num_chunks: int = setting("In how many parts.", 8, ge=2)
    cut_cross_entropy: bool | None = setting("Another name for `chunked_cross_entropy`.", None)
    plugins: tuple[Plugin, ...] = setting(
        "Plugins of axolotl that are known here: CutCrossEntropyPlugin asks for `chunked_cross_entropy`.", ()
    )
    neftune_noise_alpha: float | None = setting(
        "Noise on the embeddings in training, uniform within alpha / sqrt(tokens of the sample x width) "
        "(NEFTune, Jain et al. 2023, arXiv 2310.05914).",
        None,
        gt=0,
    )
