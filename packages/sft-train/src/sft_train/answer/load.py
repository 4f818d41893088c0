"""A trained model from its folder: whole, or an adapter with its base model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from sft_schema import DataError, SftConfig
from sft_schema.load import load_config
from sft_train.compute import Compute, resolve_compute
from sft_train.model import quantisation, settle_quantised
from sft_train.model.attention import prepare_backend
from sft_train.quiet import without_progress_bars

_KEPT_CONFIG = "sft_config.yaml"


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model that answers.

    Attributes:
        folder: where it is.
        model: in evaluation mode, on its device, with the folder's generation config.
        tokenizer: with the folder's chat template, padding on the left.
        cfg: the config of its run, where the folder has it.
        adapter: whether it is an adapter on a base model.
    """

    folder: Path
    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    cfg: SftConfig | None
    adapter: bool

    @property
    def device(self) -> torch.device:
        """Where its inputs go."""
        return self.model.device


@without_progress_bars()
def load_trained(source: str | Path, *, as_trained: bool = False) -> TrainedModel:
    """Loads a model to generate with: in bfloat16 on a CUDA device that has it, else in float32.

    Args:
        source: `output_dir` of a run, a checkpoint in it, a merged model, or the config of a run.
        as_trained: with float32 weights and the attention of the run's config, as in training, to measure its loss.

    Raises:
        ConfigError: the config cannot be read.
        DataError: there is no model, or it cannot be loaded.
    """
    folder, cfg = _folder(Path(source))
    adapter = (folder / "adapter_config.json").is_file()
    if not adapter and not (folder / "config.json").is_file():
        fix = "give the `output_dir` of a run, a checkpoint in it, or a merged model; `sft train` makes one"
        raise DataError("there is no model: neither config.json nor adapter_config.json", where=str(folder), fix=fix)
    if (folder / "processor_config.json").is_file():
        fix = "use transformers' pipeline `image-text-to-text`, which `sft train` shows at its end"
        raise DataError("a model of pictures cannot be asked here", where=str(folder), fix=fix)
    compute = resolve_compute(cfg) if cfg is not None else _compute()
    try:
        arguments = _arguments(cfg, compute, as_trained=as_trained)
        model = _adapted(folder, cfg, compute, arguments) if adapter else _whole(folder, arguments)
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", trust_remote_code=_trusted(cfg))
    except (OSError, ValueError, ImportError) as error:
        fix = "check that the folder is complete, and that the base model of an adapter can be found from here"
        raise DataError(f"cannot be loaded: {error}", where=str(folder), fix=fix) from error
    return TrainedModel(folder, model.eval(), tokenizer, cfg, adapter)


def _folder(path: Path) -> tuple[Path, SftConfig | None]:
    """The model's folder, and the config of the run that made it."""
    if path.is_dir():
        kept = next((each / _KEPT_CONFIG for each in (path, path.parent) if (each / _KEPT_CONFIG).is_file()), None)
        return path, None if kept is None else load_config(str(kept))
    cfg = load_config(str(path))
    return Path(cfg.output_dir), cfg


def _compute() -> Compute:
    cuda = torch.cuda.is_available()
    return Compute(bf16=cuda and torch.cuda.is_bf16_supported(), use_cpu=not cuda)


def _trusted(cfg: SftConfig | None) -> bool:
    return cfg is not None and cfg.trust_remote_code


def _arguments(cfg: SftConfig | None, compute: Compute, *, as_trained: bool) -> dict[str, Any]:
    half = torch.float16 if compute.fp16 else torch.bfloat16
    whole = as_trained or compute.use_cpu or not (compute.bf16 or compute.fp16)
    found: dict[str, Any] = {
        "dtype": torch.float32 if whole else half,
        "use_safetensors": True,  # the other format is a pickle, which can run code when read
        "trust_remote_code": _trusted(cfg),
    }
    if as_trained and cfg is not None:
        prepare_backend(cfg.attn_implementation, compute)
        return found | {"attn_implementation": cfg.attn_implementation}
    return found | {"device_map": {"": "cpu"} if compute.use_cpu else "auto"}


def _whole(folder: Path, arguments: dict[str, Any]) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, **arguments)


def _adapted(folder: Path, cfg: SftConfig | None, compute: Compute, arguments: dict[str, Any]) -> PeftModel:
    """The adapter on its base model, which is in as many bits as it was in training."""
    described: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    quantised = None if cfg is None else quantisation(cfg, compute)
    packed = {} if quantised is None else {"quantization_config": quantised}
    revision = described.get("revision") or (cfg and cfg.revision_of_model)
    base = AutoModelForCausalLM.from_pretrained(
        described["base_model_name_or_path"], revision=revision, **arguments, **packed
    )
    if quantised is not None:
        settle_quantised(base, quantised)
    if (folder / "generation_config.json").is_file():
        base.generation_config = GenerationConfig.from_pretrained(folder)
    return PeftModel.from_pretrained(base, str(folder))
