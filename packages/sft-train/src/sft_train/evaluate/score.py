"""All scores of a model at one moment: before training, and after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sft_data import GenerationPrompt, Prepared, generation_prompts
from sft_schema import ConfigError, Issue, SftConfig
from sft_train.callback import MetricsFile, read_metrics
from sft_train.evaluate.answers import AnswerSettings, exact_match, generate_answers
from sft_train.evaluate.overlap import chrf, rouge_l
from sft_train.trainer import SftTrainer

_OVERLAPS = {"chrf": chrf, "rouge_l": rouge_l}


@dataclass(frozen=True, slots=True)
class Score:
    """What the config asks to be measured; None where it does not.

    Attributes:
        loss: held-out loss per trained token.
        exact_match: part of the answers that are exactly right, 0 to 1.
        overlaps: `chrf` and `rouge_l`, 0 to 1.
        prompts: what was asked.
        answers: what was generated, one to a prompt.
    """

    loss: float | None = None
    exact_match: float | None = None
    overlaps: dict[str, float] = field(default_factory=dict[str, float])
    prompts: tuple[GenerationPrompt, ...] = ()
    answers: tuple[str, ...] = ()


class Examiner:
    """Measures a trainer's model on the same held-out rows and questions each time.

    Args:
        trainer: holds the model.
        cfg: what to measure. A batch of questions has as many tokens as a batch of held-out rows.
        prepared: data and tokenizer.
        say: is told what is being measured.
    """

    def __init__(self, trainer: SftTrainer, cfg: SftConfig, prepared: Prepared, say: Callable[[str], None]) -> None:
        self.trainer, self.prepared, self.say = trainer, prepared, say
        bare = trainer.model.get_base_model() if hasattr(trainer.model, "get_base_model") else trainer.model
        self.prompts = tuple(generation_prompts(cfg, prepared.tokenizer)) if cfg.do_causal_lm_eval else ()
        if cfg.do_causal_lm_eval and not self.prompts:
            message = "no held-out conversation ends with an answer to compare with"
            fix = "give conversations in `test_datasets`, or set `do_causal_lm_eval: false`"
            raise ConfigError([Issue("no_questions", ("do_causal_lm_eval",), message, fix)])
        self.metrics = cfg.eval_causal_lm_metrics
        self.settings = AnswerSettings(
            stop_ids=prepared.tokenizer.stop_ids,
            pad_id=bare.generation_config.pad_token_id,
            max_new_tokens=cfg.eval_max_new_tokens,
            tokens_per_batch=cfg.eval_batch_size * cfg.sequence_len,
        )

    def score(self, moment: str, *, log: bool = True) -> Score:
        """The model as it is now.

        Args:
            moment: "before training", say.
            log: write the scores to the metrics as well. A resumed run measures the base model again, and its
                metrics hold these numbers already.
        """
        loss = None
        if self.prepared.eval is not None:
            self.say(f"held-out loss {moment}")
            loss = self.trainer.evaluate()["eval_loss"] if log else self.trainer.held_out_loss()
        if not self.prompts:
            return Score(loss)
        self.say(f"held-out answers {moment}")
        answers = self.answers(self.prompts)
        right = exact_match(answers, self.prompts) if "exact_match" in self.metrics else None
        wanted = [prompt.wanted for prompt in self.prompts]
        overlaps = {name: score(answers, wanted) for name, score in _OVERLAPS.items() if name in self.metrics}
        measured = ({} if right is None else {"exact_match": right}) | overlaps
        if log and measured:
            self.trainer.log({f"eval_{name}": score for name, score in measured.items()})
        return Score(loss, right, overlaps, self.prompts, tuple(answers))

    def answers(self, prompts: tuple[GenerationPrompt, ...]) -> list[str]:
        """What the model as it is now answers. Every process calls it, with the same prompts."""
        trainer = self.trainer
        return generate_answers(trainer.model, prompts, self.prepared.tokenizer, self.settings, trainer.accelerator)


class AnswerTable(TrainerCallback):
    """Answers to the first `eval_table_size` questions at each evaluation during training, in answers.jsonl.

    Args:
        examiner: has questions and model.
        size: how many.
        output_dir: of the run.
        resumed_step: step of the checkpoint that the run goes on from; lines of later steps are dropped.
    """

    def __init__(self, examiner: Examiner, size: int, output_dir: Path, resumed_step: int | None) -> None:
        self.examiner, self.prompts = examiner, examiner.prompts[:size]
        writes = bool(self.prompts) and examiner.trainer.args.process_index == 0
        self._file = MetricsFile(output_dir / "answers.jsonl", resumed_step) if writes else None

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Generates and writes them; at a step that has its lines already, as after a resume, nothing."""
        if not (self.prompts and self.examiner.trainer.is_in_train):
            return
        answers = self.examiner.answers(self.prompts)
        if self._file is None or any(line["step"] == state.global_step for line in read_metrics(self._file.path)):
            return
        for prompt, answer in zip(self.prompts, answers, strict=True):
            values = {"place": prompt.origin.place, "prompt": prompt.text, "wanted": prompt.wanted, "answer": answer}
            self._file.write(state.global_step, values)
