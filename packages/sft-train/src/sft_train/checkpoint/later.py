"""Checkpoints that a thread writes while training goes on, from a copy of the state in the host's memory."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from sft_schema import TrainingError
from sft_train.checkpoint.folders import put_in_place, unfinished
from sft_train.checkpoint.save import write_model
from sft_train.checkpoint.together import FAILURES, all_hear, cause_of, not_written, settle

Write = Callable[[Path], None]


class WrittenLater:
    """Writes one folder at a time in a thread, by the same steps as `written_whole`.

    The folder gets its name when all of it is on the disk, so a kill at any moment leaves the one before it.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: tuple[Path, Future[None]] | None = None

    def start(self, folder: Path, write: Write, then: Callable[[], None]) -> None:
        """Begins to write. The one before must have been waited for.

        Args:
            folder: its place; `begun` has made the unfinished one.
            write: writes what is still missing into the unfinished folder.
            then: called in the thread after the folder has its name.
        """
        assert self._writing is None, "the checkpoint before is still being written"
        self._writing = (folder, self._pool.submit(_write, folder, write, then))

    def check(self) -> None:
        """Says when writing has failed, and does not wait.

        Raises:
            TrainingError: the checkpoint could not be written.
        """
        if self._writing is None or not self._writing[1].done():
            return
        folder, writing = self._writing
        error = writing.exception()
        if error is None:
            return
        self._writing = None
        if not isinstance(error, FAILURES):
            raise error
        raise not_written(folder, cause_of(error), shutil.disk_usage(folder.parent).free) from error

    def wait(self) -> None:
        """Waits until nothing is being written. Every process calls it: what fails in the first one, all hear.

        Raises:
            TrainingError: the checkpoint could not be written.
        """
        folder, writing = self._writing or (Path("checkpoint"), None)
        self._writing = None
        with all_hear(folder):
            if writing is not None:
                writing.result()

    def close(self) -> None:
        """Waits too, and raises nothing: for the end of a run that has failed already."""
        self._pool.shutdown()


def _write(folder: Path, write: Write, then: Callable[[], None]) -> None:
    place = unfinished(folder)
    try:
        write(place)
        settle(place, folder, put_in_place)
        then()
    except FAILURES:
        shutil.rmtree(place, ignore_errors=True)
        raise


def writer_of(model: Any, tokenizer: PreTrainedTokenizerBase | ProcessorMixin, optimizer: Optimizer) -> Write:
    """What `write_model` would write of the model as it is now, whatever training does to it later.

    Weights that the optimizer knows, and buffers, are copied to the host's memory; others are not, as they stay as
    they are. The tokenizer is copied too: batches with pictures use it meanwhile.
    """
    trained = {id(each) for group in optimizer.param_groups for each in group["params"]}
    kept = {id(each): _copied(each) for each in model.buffers()}
    kept |= {id(each): _copied(each) if id(each) in trained else each for each in model.parameters()}
    tokens = copy.deepcopy(tokenizer)
    if isinstance(model, PeftModel):  # what peft writes, it takes from the state alone
        named = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
        state = {
            name: kept[id(named[name])] if name in named else each  # pyright: ignore[reportArgumentType]
            for name, each in model.state_dict().items()
        }
        return lambda folder: write_model(model, tokens, folder, state)
    # transformers reads and changes the config while it saves, and training must not see that: a model of its own.
    shell = copy.deepcopy(model, kept)
    return lambda folder: write_model(shell, tokens, folder)


def _copied(tensor: Tensor) -> Tensor:
    copied = tensor.detach().to("cpu", copy=True)
    return nn.Parameter(copied, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copied


def in_host_memory(state: Any) -> Any:
    """A state dict with its tensors copied to the host's memory, in the same form and order."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: in_host_memory(value) for key, value in state.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(state, list):
        return [in_host_memory(each) for each in state]  # pyright: ignore[reportUnknownVariableType]
    return state


def refuse_shared_out(kind: str) -> TrainingError:
    """The error for weights that are shared out over processes, which no process can copy alone."""
    message = f"`save_async` copies the whole state in one process, and {kind} shares it out over all of them"
    return TrainingError(message, fix="set `save_async: false`")
