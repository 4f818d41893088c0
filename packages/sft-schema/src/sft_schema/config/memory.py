"""Memory against time: what is computed again, moved away, compiled or given back."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting

FusedKernel = Literal["qk_norm_rope", "rope", "rms_norm", "layer_norm", "glu"]


class CheckpointingKwargs(Section):
    """How activations are recomputed."""

    use_reentrant: bool = setting("By torch's older way, which runs a second backward pass inside the first.", False)


class MemorySection(Section):
    """Activations and compilation."""

    gradient_checkpointing: bool = setting("Recompute activations in the backward pass.", False)
    gradient_checkpointing_kwargs: CheckpointingKwargs = setting("How they are recomputed.", CheckpointingKwargs)
    activation_offloading: bool = setting("Keep activations in the host's memory until the backward pass.", False)
    tiled_mlp: bool = setting(
        "Compute MLPs a slice of tokens at a time, and again in the backward pass: for long rows.", False
    )
    tiled_mlp_num_shards: int | None = setting(
        "In how many slices; absent means `sequence_len` over the model's width, at least 2.", None, ge=2
    )
    fused_kernels: Literal["auto"] | bool | tuple[FusedKernel, ...] = setting(
        "Ops of sft-kernels in place of the model's own layers: all that fit, or some; `auto` is all on a CUDA "
        "device and none elsewhere.",
        "auto",
    )
    torch_compile: bool = setting("Compile the model with torch.compile.", False)
    torch_compile_backend: str | None = setting("Compiler to use; absent means inductor.", None, min_length=1)
    torch_compile_mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None = (
        setting("What the compiler aims at.", None)
    )
    torch_empty_cache_steps: int | None = setting("Steps between returns of unused GPU memory.", None, ge=1)
    gc_collect_steps: int | None = setting("Steps between collections of Python's garbage.", None, ge=1)
