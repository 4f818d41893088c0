"""Whether a model can be trained as asked, from its config.json alone: before data are prepared or weights read."""

from __future__ import annotations

import torch
from transformers import AutoConfig, PretrainedConfig

from sft_schema import BACKENDS, ConfigError, Issue, SftConfig
from sft_schema.attention import needs_of, packing_leak, sharing_setting, unmet
from sft_train.compute import Compute


def check_architecture(cfg: SftConfig, compute: Compute) -> None:
    """Refuses a model whose attention the backend cannot compute, or whose samples would mix in a shared row.

    What cannot be read off config.json is measured once the model is loaded (`check_isolation`).

    Args:
        cfg: the model, its attention backend, and whether samples ever share a row.
        compute: device of the run.

    Raises:
        ConfigError: with every such problem; or the model's config cannot be read.
    """
    model = _config_of(cfg).to_dict()
    backend = BACKENDS[cfg.attn_implementation]
    lacking = unmet(backend, needs_of(model, sm=None if compute.use_cpu else _capability()))
    able = [row.name for row in BACKENDS.values() if not unmet(row, needs_of(model))]
    fix = f"set `attn_implementation` to one of {', '.join(able)}" if able else "choose another model"
    issues = [
        Issue("attention_lacks", ("attn_implementation",), f"{backend.name} {each}: {cfg.base_model}", fix)
        for each in lacking
    ]
    text = model.get("text_config") or model
    shared = sharing_setting(cfg)
    leak = packing_leak(text["model_type"], isolation=backend.isolation, layer_types=text.get("layer_types"))
    if shared is not None and leak is not None:
        message = f"samples must not share a row ({shared}): {leak}"
        fix = "set `sample_packing: false`, `micro_batch_size: 1` and `eval_batch_size: 1`"
        issues.append(Issue("packing_leaks", (shared.split()[0],), message, fix))
    if issues:
        raise ConfigError(issues)


def _config_of(cfg: SftConfig) -> PretrainedConfig:
    try:
        return AutoConfig.from_pretrained(
            cfg.base_model, revision=cfg.revision_of_model, trust_remote_code=cfg.trust_remote_code
        )
    except (OSError, ValueError, ImportError) as error:
        message = f"the config of {cfg.base_model!r} cannot be read: {error}"
        fix = "give a hub id, or a folder with config.json and safetensors files"
        raise ConfigError([Issue("model_not_loaded", ("base_model",), message, fix)]) from error


def _capability() -> int:
    """Compute capability of the CUDA device, times ten."""
    major, minor = torch.cuda.get_device_capability()
    return 10 * major + minor
