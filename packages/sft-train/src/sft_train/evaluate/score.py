"""All scores of a model at one moment: before training, and after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sft_data import GenerationPrompt, Prepared, generation_prompts
from sft_schema import ConfigError, Issue, SftConfig
from sft_train.evaluate.answers import AnswerSettings, exact_match, generate_answers
from sft_train.trainer import SftTrainer


@dataclass(frozen=True, slots=True)
class Score:
    """What the config asks to be measured; None where it does not.

    Attributes:
        loss: held-out loss per trained token.
        exact_match: part of the answers that are exactly right, 0 to 1.
        prompts: what was asked.
        answers: what was generated, one to a prompt.
    """

    loss: float | None = None
    exact_match: float | None = None
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
        answers = generate_answers(
            self.trainer.model, self.prompts, self.prepared.tokenizer, self.settings, self.trainer.accelerator
        )
        right = exact_match(answers, self.prompts) if "exact_match" in self.metrics else None
        if log and right is not None:
            self.trainer.log({"eval_exact_match": right})
        return Score(loss, right, self.prompts, tuple(answers))
