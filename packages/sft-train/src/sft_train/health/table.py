"""What can be wrong with a run, a row for each: what is seen, what it means, what to do.

The bands are those of axolotl's SFT reference (docs/agents/sft.md, Apache-2.0, as of 2026-05-05): a gradient norm of
0.1 to 10 is healthy, spikes above 100 are not, 0.0 means frozen weights; the loss falls, the held-out loss with it,
and the learning rate follows its schedule. Where that page gives no number, the one here is so far out that chance
alone does not reach it. docs/watching.md shows this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sft_schema.record import HealthFinding


@dataclass(frozen=True, slots=True)
class Symptom:
    """One thing that can be wrong.

    Attributes:
        code: stable short name.
        seen: the condition, for people to read; `sft_train.health.detect` holds it as code.
        sentence: what it means, with places for the numbers.
        advice: what to do.
    """

    code: str
    seen: str
    sentence: str
    advice: str


_ROWS = (
    Symptom(
        "not_finite",
        "loss or gradient is NaN or infinite; the run stops before the weights change",
        "the {what} is {value} at step {step}{cause}",
        "lower `learning_rate`, add `warmup_steps`, set `max_grad_norm: 1.0`; look at the rows that are named; "
        "`resume_from_checkpoint: true` goes on from the last checkpoint",
    ),
    Symptom(
        "start_high",
        "loss over ln(vocabulary) + 1 at the tenth log line",
        "the loss, {loss:.3g}, is still above that of guessing among {vocabulary:,} tokens, {guess:.3g}: the weights "
        "are not what they should be, or the tokenizer is another model's",
        "check `base_model` and the tokenizer, and look at the tokens with `sft inspect`",
    ),
    Symptom(
        "start_low",
        "first loss under 0.05",
        "the first loss is already {loss:.3g}: there is nothing left to learn in what is trained",
        "look at what is trained with `sft inspect`; the answer may stand in the prompt, or the model may have seen "
        "these rows",
    ),
    Symptom(
        "nothing_trained",
        "no trained token since the last log line",
        "none of the tokens up to step {step} is trained: these steps did nothing",
        "look at the mask with `sft inspect`; check `train_on_inputs`, `roles_to_train` and the columns of the data",
    ),
    Symptom(
        "few_trained",
        "under 0.5% of tokens trained, in 5 log lines",
        "only {share:.2%} of the tokens are trained: almost all work goes into tokens that teach nothing",
        "look at the mask with `sft inspect`; check `train_on_inputs`, `roles_to_train` and the columns of the data",
    ),
    Symptom(
        "loss_zero",
        "loss exactly 0 with trained tokens",
        "the loss is exactly 0 at step {step}, which no language model reaches: the outputs or the labels are broken",
        "look at the labels with `sft inspect`; set `attn_implementation: sdpa` and `bf16: false` for a test",
    ),
    Symptom(
        "loss_near_zero",
        "loss under 0.05 in 3 log lines, with no held-out loss that is low too",
        "the training loss fell from {first:.3g} to {loss:.3g} by step {step}: the model knows the rows by heart",
        "set `val_set_size` to see whether it still answers others; train fewer epochs, lower `learning_rate`, or use "
        "more data",
    ),
    Symptom(
        "loss_diverged",
        "loss twice that of the start (and 2 above it), in 3 log lines",
        "the loss is {loss:.3g} at step {step}, and began at {first:.3g}: training has diverged",
        "lower `learning_rate` tenfold, add `warmup_steps`, and begin anew or resume from an earlier checkpoint; "
        "`loss_watchdog_threshold` stops such a run",
    ),
    Symptom(
        "loss_rising",
        "after a quarter of the run and 20 log lines, loss 5% above the start",
        "the loss has risen from {first:.3g} to {loss:.3g} in {lines} log lines",
        "lower `learning_rate`, add `warmup_steps`, and look at the labels with `sft inspect`",
    ),
    Symptom(
        "loss_flat",
        "after a quarter of the run and 20 log lines, loss not 2% below the start",
        "the loss does not fall: {first:.3g} at the start, {loss:.3g} after {lines} log lines",
        "raise `learning_rate`, and look at what is trained with `sft inspect` (`train_on_inputs`, the data)",
    ),
    Symptom(
        "grad_zero",
        "gradient norm exactly 0.0 with trained tokens",
        "the gradient is exactly 0 at step {step}: the weights that are to be trained are frozen or do not reach the "
        "loss",
        "check `unfrozen_parameters` or `lora_target_modules`: they must name layers that the outputs depend on",
    ),
    Symptom(
        "grad_low",
        "gradient norm under 0.001 in 10 log lines, with a loss over 0.5",
        "the gradient norm is {norm:.2g} with a loss of {loss:.3g}: what is trained hardly reaches the loss",
        "check `unfrozen_parameters` or `lora_target_modules`; raise `lora_alpha`",
    ),
    Symptom(
        "grad_high",
        "gradient norm over 100, in the middle of 10 log lines",
        "the gradient norm stays above 100 ({norm:.3g}), where 0.1 to 10 is usual: steps go anywhere",
        "lower `learning_rate`, add `warmup_steps`, set `max_grad_norm: 1.0`",
    ),
    Symptom(
        "grad_spike",
        "gradient norm over 100 and ten times that of the lines before",
        "the gradient norm leaps to {norm:.3g} at step {step}, from {before:.3g}: training is unstable",
        "set `max_grad_norm: 1.0`, lower `learning_rate`, add `warmup_steps`; look for odd rows in the data",
    ),
    Symptom(
        "rate_not_finite",
        "learning rate NaN or infinite",
        "the learning rate is {rate} at step {step}",
        "check `learning_rate`, `lr_scheduler` and `lr_scheduler_kwargs`",
    ),
    Symptom(
        "rate_zero",
        "learning rate 0 in 3 log lines after the warm-up",
        "the learning rate is 0 up to step {step} of {steps}: the weights do not change",
        "check `lr_scheduler` and `lr_scheduler_kwargs`; set `cosine_min_lr_ratio`, or end the run here",
    ),
    Symptom(
        "rate_flat",
        "learning rate the same in all lines of half the run, with a schedule that changes it",
        "the learning rate has been {rate:.3g} since the start, although `lr_scheduler` is {schedule}",
        "check `lr_scheduler`, `lr_scheduler_kwargs` and `cosine_min_lr_ratio`; `lr_scheduler: constant` is for a flat "
        "one",
    ),
    Symptom(
        "warmup_too_long",
        "warm-up as long as the run",
        "the warm-up takes {warmup} steps and the run has {steps}: the learning rate never gets to `learning_rate`",
        "lower `warmup_steps`, or use `warmup_ratio: 0.03`",
    ),
    Symptom(
        "eval_diverging",
        "two held-out losses 5% above the lowest, with a training loss that fell meanwhile",
        "the held-out loss was lowest at step {best_step} ({best:.3g}) and is {loss:.3g} at step {step}, while the "
        "training loss fell from {then:.3g} to {now:.3g}: overfitting",
        "train fewer epochs, or set `load_best_model_at_end: true` or `early_stopping_patience`; `weight_decay`, "
        "`lora_dropout` or more data help too",
    ),
    Symptom(
        "weights_frozen",
        "no trained weight has changed in 20 steps, or in the run",
        "none of the {count} trained tensors has changed by step {step}: nothing is learnt",
        "check `learning_rate`, `unfrozen_parameters` and `lora_target_modules`",
    ),
    Symptom(
        "weights_unused",
        "trained tensors that have not changed by the end of the run",
        "{count} of {of} trained tensors have not changed, such as {names}: no trained token depended on them, or the "
        "learning rate is too small to move them",
        "raise `learning_rate`, see that the data use them, or leave them out of `lora_target_modules`, "
        "`lora_modules_to_save` or `unfrozen_parameters`",
    ),
)
SYMPTOMS: dict[str, Symptom] = {row.code: row for row in _ROWS}
"""Every row by code."""


def finding(code: str, step: int, **values: Any) -> HealthFinding:
    """A row with its numbers.

    Args:
        code: of `SYMPTOMS`.
        step: optimizer step at which it was seen.
        values: what the sentence has places for, besides `step`.
    """
    row = SYMPTOMS[code]
    return HealthFinding(step=step, code=code, sentence=row.sentence.format(step=step, **values), advice=row.advice)
