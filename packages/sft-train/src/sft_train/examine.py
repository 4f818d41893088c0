"""A trained model measured again, on the held-out rows of its config or on others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sft_data import prepare
from sft_schema import ConfigError, DataError, Issue, SftConfig
from sft_schema.record import SplitCounts
from sft_train.answer import load_trained
from sft_train.compute import resolve_compute
from sft_train.evaluate import Examiner
from sft_train.model import set_generation_defaults
from sft_train.quiet import without_progress_bars
from sft_train.trainer import SftTrainer, check_isolation, training_arguments


@dataclass(frozen=True, slots=True)
class Answer:
    """A generated answer: what was asked, what was wanted, what came."""

    prompt: str
    wanted: str
    answer: str


@dataclass(frozen=True, slots=True)
class Examined:
    """What was measured.

    Attributes:
        folder: of the model.
        loss: mean negative log-likelihood per trained token, in nats.
        perplexity: its exponential.
        exact_match: part of the answers that equal the wanted one, 0 to 1; None unless `do_causal_lm_eval`.
        rows: the account of the held-out rows.
        answers: generated ones, in the order of the rows.
    """

    folder: Path
    loss: float
    perplexity: float
    exact_match: float | None
    rows: SplitCounts
    answers: tuple[Answer, ...]


@without_progress_bars()
def examine(folder: Path, cfg: SftConfig, say: Callable[[str], None]) -> Examined:
    """Measures a trained model just as its run did at its end; nothing is trained, and nothing of the run changes.

    Args:
        folder: the model or adapter; see `sft_train.answer.load_trained`.
        cfg: the config of its run, perhaps with other `test_datasets`.
        say: is told what is being done.

    Raises:
        ConfigError: the config has no held-out rows, or cannot be honoured here.
        DataError: data or model cannot be used.
        TrainingError: the loss is not a number.
    """
    if not (cfg.test_datasets or cfg.val_set_size):
        fix = "name rows: `--set 'test_datasets=[{path: rows.jsonl}]'`"
        raise ConfigError([Issue("nothing_held_out", ("test_datasets",), "there are no rows to evaluate on", fix)])
    say("preparing the data")
    prepared = prepare(cfg)
    if prepared.eval is None:
        fix = "look at the rows that were set aside: `sft preprocess` says where they are listed"
        raise DataError("no held-out row is left", where=str(prepared.folder), fix=fix)
    say("loading the model")
    trained = load_trained(folder, as_trained=True)
    bare = trained.model.get_base_model() if trained.adapter else trained.model
    set_generation_defaults(bare, trained.tokenizer, prepared.tokenizer.stop_ids)
    args = training_arguments(cfg, resolve_compute(cfg))
    trainer = SftTrainer(trained.model, args, cfg=cfg, prepared=prepared, tokenizer=trained.tokenizer, callbacks=[])
    check_isolation(trainer.model, cfg, trainer.call)
    score = Examiner(trainer, cfg, prepared, say).score("of the trained model", log=False)
    assert score.loss is not None
    answers = (Answer(each.text, each.wanted, text) for each, text in zip(score.prompts, score.answers, strict=True))
    counts = prepared.manifest.splits["eval"]
    return Examined(folder, score.loss, math.exp(min(score.loss, 700.0)), score.exact_match, counts, tuple(answers))
