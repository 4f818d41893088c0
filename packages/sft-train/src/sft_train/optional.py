"""The optional packages, each asked for in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig
from transformers.integrations import TensorBoardCallback
from transformers.utils import is_bitsandbytes_available

from sft_schema import ConfigError, Issue
from sft_schema.config import ServiceSection


def require_library(library: str, install: str, switch: str) -> None:
    """Refuses a setting whose library is missing, without importing it.

    Args:
        library: module that is needed.
        install: what to install for it.
        switch: the setting that asks for it.

    Raises:
        ConfigError: the library is not installed.
    """
    try:
        found = find_spec(library)
    except ModuleNotFoundError:  # a part of a package that is not there
        found = None
    if found is None:
        fix = f"install `{install}`, or set `{switch}: false`"
        raise ConfigError([Issue("not_installed", (switch,), f"{library} is not installed", fix)])


def lm_eval_harness() -> Any:
    """The package lm_eval, for `lm_eval_tasks`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        for part in ("lm_eval.tasks", "lm_eval.models.huggingface"):
            import_module(part)
    except ImportError as error:
        fix = "install `sft-train[lm-eval]`, or remove lm_eval_tasks"
        raise ConfigError([Issue("not_installed", ("lm_eval_tasks",), f"lm_eval: {error}", fix)]) from error
    return import_module("lm_eval")


def otel_gauges(service: str) -> tuple[Callable[[str], Any], Callable[[], object]]:
    """Gauges of OpenTelemetry, exported by OTLP over HTTP to where its own OTEL_EXPORTER_ variables say.

    Args:
        service: `service.name` of the resource.

    Returns:
        What makes a gauge of a name, and what sends the last numbers and ends it all.
    """
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create({"service.name": service})
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    provider = MeterProvider(metric_readers=[reader], resource=resource)
    return provider.get_meter("sft_train").create_gauge, provider.shutdown


def tensorboard_callback(folder: Path) -> TensorBoardCallback:
    """Writes what is logged as TensorBoard events in `folder`; see `require_library`."""
    callback = TensorBoardCallback()
    callback.logging_dir = str(folder)
    return callback


def bitsandbytes_optimizers(optimizer: str) -> Any:
    """The module `bitsandbytes.optim`, for this value of `optimizer`.

    Raises:
        ConfigError: bitsandbytes is not installed.
    """
    try:
        import bitsandbytes
    except ImportError as error:
        raise _lacks("bitsandbytes", optimizer) from error
    return bitsandbytes.optim


def require_bitsandbytes(setting: str) -> None:
    """Makes sure that bitsandbytes can be used.

    Args:
        setting: what needs it.

    Raises:
        ConfigError: it is not installed.
    """
    if is_bitsandbytes_available():
        return
    fix = f"install `sft-train[bitsandbytes]`, or remove {setting}"
    raise ConfigError([Issue("not_installed", (setting,), "bitsandbytes is not installed", fix)])


def keep_in_32_bits(layers: Iterable[nn.Module]) -> None:
    """Tells 8-bit optimizers of bitsandbytes to keep float32 states for the weights of these layers."""
    import bitsandbytes

    manager = bitsandbytes.optim.GlobalOptimManager.get_instance()
    for layer in layers:
        manager.register_module_override(layer, "weight", {"optim_bits": 32})


def rounded_as(weight: Tensor, quantised: BitsAndBytesConfig) -> Tensor:
    """A weight after it was packed as a config says and unpacked again.

    Args:
        weight: float32 `[out, in]`, on the CPU.
        quantised: see `sft_train.model.quantisation`.

    Returns:
        float32 of the same shape.
    """
    from bitsandbytes import functional, nn

    if quantised.load_in_8bit:
        eight: Any = nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False).to("cpu")
        return functional.int8_vectorwise_dequant(eight.CB, eight.SCB).float()
    four: Any = nn.Params4bit(
        weight,
        requires_grad=False,
        compress_statistics=quantised.bnb_4bit_use_double_quant,
        quant_type=quantised.bnb_4bit_quant_type,
    ).to("cpu")
    return functional.dequantize_4bit(four.data, four.quant_state).float().reshape(weight.shape)


def dequantised(weight: Any) -> Tensor:
    """The weight of a 4-bit layer of bitsandbytes, float32 `[out, in]` on its device."""
    from bitsandbytes import functional

    return functional.dequantize_4bit(weight.data, weight.quant_state).float().reshape(weight.quant_state.shape)


def unpack_4bit(weight: Tensor, state: dict[str, Tensor]) -> Tensor:
    """A weight that is stored in 4 bits.

    Args:
        weight: packed.
        state: the tensors that are stored beside it, by their full names.

    Raises:
        ConfigError: bitsandbytes is not installed.
    """
    require_bitsandbytes("the quantised base model")
    from bitsandbytes import functional

    found = functional.QuantState.from_dict(dict(state), torch.device("cpu"))
    return functional.dequantize_4bit(weight, found)


def unpack_8bit(weight: Tensor, scales: Tensor) -> Tensor:
    """A weight that is stored in 8 bits, float32 `[out, in]`.

    Args:
        weight: int8 `[out, in]`.
        scales: float32 `[out]`: the value that 127 stands for in each row.
    """
    return weight.float() * (scales.float() / 127)[:, None]


def schedule_free_optimizers(optimizer: str) -> Any:
    """The package schedulefree, for this value of `optimizer`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import schedulefree
    except ImportError as error:
        raise _lacks("schedulefree", optimizer) from error
    return schedulefree


def prepare_deepspeed(*, on_cpu: bool) -> None:
    """Makes sure that DeepSpeed can be used.

    On a CPU it would compile a library for processes of one machine at its first use, which takes minutes and a
    compiler; told that it cannot be had, it exchanges data through gloo.

    Args:
        on_cpu: the run uses no GPU. Its process group is joined here, as ZeRO 3 asks for it while the model is loaded.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import deepspeed
    except ImportError as error:
        fix = "install `sft-train[deepspeed]`, or write `fsdp_version: 2`"
        raise ConfigError([Issue("not_installed", ("deepspeed",), "DeepSpeed is not installed", fix)]) from error
    if on_cpu:
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        if torch.distributed.is_initialized():
            deepspeed.init_distributed("gloo", dist_init_required=False)


def leave_deepspeed() -> None:
    """Ends DeepSpeed's process groups, and what it does to models that are loaded afterwards."""
    from deepspeed import comm
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
    if comm.is_initialized():
        comm.destroy_process_group()


class DeepSpeedParts:
    """What is used of DeepSpeed besides its engine: whole tensors out of partitions and back."""

    def __init__(self) -> None:
        from deepspeed.runtime.zero import GatheredParameters
        from deepspeed.utils import (
            safe_get_full_fp32_param,
            safe_get_full_optimizer_state,
            safe_set_full_fp32_param,
            safe_set_full_optimizer_state,
            safe_set_local_fp32_param,
            safe_set_local_optimizer_state,
        )

        self.safe_get_full_fp32_param: Any = safe_get_full_fp32_param
        self.safe_get_full_optimizer_state: Any = safe_get_full_optimizer_state
        self.safe_set_full_fp32_param: Any = safe_set_full_fp32_param
        self.safe_set_full_optimizer_state: Any = safe_set_full_optimizer_state
        self._local: tuple[Any, Any] = (safe_set_local_fp32_param, safe_set_local_optimizer_state)
        self.GatheredParameters: Any = GatheredParameters

    def set_local(self, weight: Any, part: Tensor, key: str | None) -> None:
        """Sets this process's part of a weight of ZeRO 3 in float32, or of the state `key` of it."""
        weights, states = self._local
        if key is None:
            weights(weight, part)
        else:
            states(weight, part, key)


def deepspeed_parts() -> DeepSpeedParts:
    """Of an installed DeepSpeed; see `prepare_deepspeed`."""
    return DeepSpeedParts()


def _lacks(package: str, optimizer: str) -> ConfigError:
    message = f"{optimizer} needs {package}, which is not installed"
    fix = f"install `sft-train[{package}]`, or set `optimizer: adamw_torch_fused`"
    return ConfigError([Issue("not_installed", ("optimizer",), message, fix)])


def start_wandb(cfg: ServiceSection) -> Callable[[bool], None] | None:
    """Begins a run in Weights & Biases, which transformers' integration then takes up.

    Its library reads the environment once in a process, so the settings are handed over as arguments.

    Returns:
        What ends the run, given whether it failed; None when the caller had one open already, which is used.
    """
    wandb = import_module("wandb")
    if wandb.run is not None:
        return None
    resume = "allow" if cfg.wandb_run_id else None  # else a run of this id would be written anew
    run = wandb.init(
        project=cfg.wandb_project,
        entity=cfg.wandb_entity,
        name=cfg.wandb_name,
        id=cfg.wandb_run_id,
        mode=cfg.wandb_mode,
        resume=resume,
    )
    return lambda failed: run.finish(exit_code=int(failed))
