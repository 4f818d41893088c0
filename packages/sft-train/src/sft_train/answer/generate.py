"""Answers: streamed token by token, or of many prompts in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import Queue
from threading import Event, Thread
from typing import Any, Literal

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from sft_schema import DataError
from sft_train.answer.load import TrainedModel
from sft_train.answer.pieces import TextPieces
from sft_train.answer.settings import Sampling
from sft_train.evaluate import left_padded, until_stop

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class End:
    """How an answer ended.

    Attributes:
        by: a stop token, the longest length, or the user.
        tokens: generated, stop token included.
        prompt_tokens: of the conversation before it.
    """

    by: Literal["stop", "length", "user"]
    tokens: int
    prompt_tokens: int


class Answerer:
    """Asks a trained model. Calls must not overlap.

    Args:
        trained: the model. With a chat template prompts are conversations; without one they are texts to go on with.
        sampling: how tokens are chosen unless a call says otherwise.
    """

    def __init__(self, trained: TrainedModel, sampling: Sampling) -> None:
        self.trained, self.sampling = trained, sampling
        config = trained.model.generation_config
        ends = config.eos_token_id
        self.stop_ids: tuple[int, ...] = (ends,) if isinstance(ends, int) else tuple(ends or ())
        pad = config.pad_token_id if config.pad_token_id is not None else trained.tokenizer.pad_token_id
        self.pad_id: int = pad if pad is not None else (self.stop_ids or (0,))[0]

    @property
    def chats(self) -> bool:
        """Whether prompts are conversations."""
        return self.trained.tokenizer.chat_template is not None

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The conversation up to where the answer begins.

        Raises:
            DataError: the template refuses it, or it is too long for the model.
        """
        tokenizer, where = self.trained.tokenizer, f"the prompt for {self.trained.folder}"
        if not self.chats:
            text = "".join(str(message["content"]) for message in messages)
            ids: list[int] = tokenizer(text)["input_ids"]
        else:
            try:
                text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
            except (TemplateError, TypeError, ValueError, KeyError) as error:
                fix = "check roles and their order; some templates know no system message"
                raise DataError(f"the chat template refuses it: {error}", where=where, fix=fix) from None
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if (room := self._room(len(ids))) is not None and room < 1:
            fix = "begin a new conversation, or shorten it"
            raise DataError(f"it has {len(ids)} tokens, as many as the model has positions", where=where, fix=fix)
        return ids

    def stream(
        self, messages: Sequence[Message], sampling: Sampling | None = None, stop: Event | None = None
    ) -> Iterator[str | End]:
        """Text as it is generated, and last of all how it ended.

        Args:
            messages: the conversation.
            sampling: in place of the one given at first.
            stop: ends the answer when it is set; so does closing the iterator.

        Raises:
            DataError: see `prompt_ids`.
        """
        ids = self.prompt_ids(messages)
        stop = stop or Event()
        tokens = _Tokens()
        worker = Thread(target=self._generate, args=(ids, sampling or self.sampling, tokens, stop), daemon=True)
        worker.start()
        pieces, count, last = TextPieces(self.trained.tokenizer.decode), 0, -1
        try:
            while (token := tokens.queue.get()) is not None:
                if isinstance(token, Exception):
                    raise token
                count, last = count + 1, token
                if token not in self.stop_ids and (text := pieces.push([token])):
                    yield text
        finally:
            stop.set()
            worker.join()
        if text := pieces.end():
            yield text
        yield End("stop" if last in self.stop_ids else "user" if tokens.stopped else "length", count, len(ids))

    def answers(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """One answer to each conversation, generated together.

        Raises:
            DataError: see `prompt_ids`.
        """
        prompts = [self.prompt_ids(each) for each in conversations]
        ids, mask = left_padded(prompts, self.pad_id)
        with torch.no_grad():
            output = self._run(ids, mask, self.sampling)
        return [
            self.trained.tokenizer.decode(until_stop(answer, self.stop_ids))
            for answer in output[:, ids.shape[1] :].tolist()
        ]

    def _generate(self, ids: list[int], sampling: Sampling, tokens: _Tokens, stop: Event) -> None:
        """Runs in a thread of its own; what goes wrong is raised where the tokens are read."""
        try:
            with torch.no_grad():
                prompt = torch.tensor([ids])
                asked = _Asked(stop, tokens)
                self._run(prompt, torch.ones_like(prompt), sampling, streamer=tokens, stopping_criteria=[asked])
        except Exception as error:  # noqa: BLE001 - handed on
            tokens.queue.put(error)
        finally:
            tokens.queue.put(None)

    def _run(self, ids: Tensor, mask: Tensor, sampling: Sampling, **more: Any) -> Tensor:
        device = self.trained.device
        arguments = sampling.arguments(self.trained.model.generation_config, self._room(ids.shape[1]))
        return self.trained.model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), pad_token_id=self.pad_id, **arguments, **more
        )

    def _room(self, used: int) -> int | None:
        """Positions that are left; None where the model has no such limit."""
        positions = getattr(self.trained.model.config.get_text_config(), "max_position_embeddings", None)
        return None if positions is None else positions - used


class _Tokens(BaseStreamer):
    """Hands tokens from the thread that generates to the one that reads."""

    def __init__(self) -> None:
        self.queue: Queue[int | Exception | None] = Queue()
        self.stopped = False
        self._prompt = True

    def put(self, value: Tensor) -> None:
        """The first call brings the prompt."""
        if self._prompt:
            self._prompt = False
            return
        for token in value.flatten().tolist():
            self.queue.put(token)

    def end(self) -> None:
        """The reader hears of it from `_generate`."""


class _Asked(StoppingCriteria):
    """Ends an answer when it is asked to."""

    def __init__(self, stop: Event, tokens: _Tokens) -> None:
        self._stop, self._tokens = stop, tokens

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Any:
        """Bool `[n]`: whether each answer ends here."""
        asked = self._stop.is_set()
        self._tokens.stopped |= asked
        return torch.full((input_ids.shape[0],), asked, device=input_ids.device, dtype=torch.bool)
