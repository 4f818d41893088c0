"""From the settings of an engine to what the Trainer, accelerate and DeepSpeed are told.

accelerate honours FSDP on GPUs only: asked for it on a CPU, the Trainer runs plain DistributedDataParallel and says
nothing. Here the state of this process is told that it is FSDP, which is all that accelerate looks at; torch's FSDP2
itself works on gloo. `check_sharded` then looks at the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from accelerate import DistributedType, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import FullyShardedDataParallelPlugin, TorchDynamoPlugin
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy
from transformers import TrainingArguments

from sft_schema import ConfigError, Issue, SftConfig
from sft_schema.config import FsdpSettings, ShardingSection, is_sharded
from sft_schema.engine import deepspeed_settings, fsdp_settings
from sft_train.compute import Compute
from sft_train.env import environment
from sft_train.optional import leave_deepspeed, prepare_deepspeed

_SWITCHES = {"ACCELERATE_USE_FSDP": "false", "ACCELERATE_USE_DEEPSPEED": "false"}
"""accelerate turns these on for the whole process; a later run in it must not find them so."""
_ON_CPU = {"DS_ACCELERATOR": "cpu"}
"""accelerate imports DeepSpeed wherever it is installed, which else says on standard output that it found no GPU."""


@contextmanager
def joined(cfg: ShardingSection, compute: Compute) -> Iterator[None]:
    """Readies the process for an engine, and puts accelerate's switches back afterwards.

    Raises:
        ConfigError: DeepSpeed is not installed, or shards would be kept in the host's memory beside no GPU.
    """
    fsdp = fsdp_settings(cfg)
    if fsdp is not None and fsdp.offload_params and compute.use_cpu:
        path, message = ("fsdp_config", "offload_params"), "there is no GPU whose memory would be spared"
        raise ConfigError([Issue("offload_on_cpu", path, message, "remove offload_params")])
    with environment(_SWITCHES | (_ON_CPU if compute.use_cpu else {})):
        if cfg.deepspeed is not None:
            prepare_deepspeed(on_cpu=compute.use_cpu)  # refuses before data are prepared
        yield


def leave(cfg: ShardingSection) -> None:
    """Leaves the process group at the end of a run; DeepSpeed keeps groups of its own."""
    if cfg.deepspeed is not None and torch.distributed.is_initialized():
        leave_deepspeed()
    PartialState().destroy_process_group()


def engine_arguments(cfg: SftConfig) -> dict[str, Any]:
    """The engine as keyword arguments of `TrainingArguments`; none when each process has a whole copy."""
    fsdp = fsdp_settings(cfg)
    if fsdp is not None:
        return {"fsdp": True, "fsdp_config": _fsdp_config(fsdp)}
    settings = deepspeed_settings(cfg)
    return {} if settings is None else {"deepspeed": deepcopy(settings)}  # the "auto" in it are filled in


def _fsdp_config(fsdp: FsdpSettings) -> dict[str, Any]:
    layers = fsdp.transformer_layer_cls_to_wrap
    names = [each.strip() for each in layers.split(",")] if isinstance(layers, str) else [*layers]
    return {
        "version": 2,
        "auto_wrap_policy": fsdp.auto_wrap_policy,
        "min_num_params": fsdp.min_num_params or 0,
        "reshard_after_forward": fsdp.reshard_after_forward,
        "state_dict_type": "FULL_STATE_DICT",  # checkpoints are written by sft_train.distributed.state
        **({"transformer_layer_cls_to_wrap": names} if names else {}),
    }


def settle_engine(args: TrainingArguments, cfg: ShardingSection, compute: Compute) -> None:
    """Sees to it that the engine is the one that was asked for. Called before the Trainer is made.

    Weights are gathered in the format that is computed in, and gradients are added up in float32.

    Raises:
        ConfigError: there is a single process.
    """
    if not is_sharded(cfg):
        return
    if args.world_size < 2 and cfg.fsdp_version is not None:
        message = "fsdp_version shards the model over processes, and there is one"
        fix = "start one process per GPU (`torchrun --nproc-per-node N -m sft_cli train CONFIG`), or remove it"
        raise ConfigError([Issue("one_process", ("fsdp_version",), message, fix)])
    fsdp = fsdp_settings(cfg)
    if fsdp is None:
        return
    if compute.bf16:
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        args.fsdp_plugin_args["mixed_precision_policy"] = policy
    if fsdp.offload_params:
        args.fsdp_plugin_args["cpu_offload"] = CPUOffloadPolicy(pin_memory=fsdp.cpu_offload_pin_memory)
    if compute.use_cpu:
        _honour_on_cpu(FullyShardedDataParallelPlugin(**args.fsdp_plugin_args), "bf16" if compute.bf16 else "no")


def _honour_on_cpu(plugin: FullyShardedDataParallelPlugin, mixed_precision: str) -> None:
    """Makes accelerate's state here what it would be on a GPU. The Trainer's Accelerator takes it as it is."""
    state = AcceleratorState(
        mixed_precision, cpu=True, dynamo_plugin=TorchDynamoPlugin(), fsdp_plugin=plugin, _from_accelerator=True
    )
    state.fsdp_plugin = plugin
    state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
