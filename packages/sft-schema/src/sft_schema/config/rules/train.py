"""Steps and checkpoints."""

from __future__ import annotations

from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Check, Finding, Rule


def _batch_size(cfg: SftConfig) -> Finding | None:
    if cfg.batch_size is None:
        return None
    if cfg.gradient_accumulation_steps != 1:
        message = "batch_size and gradient_accumulation_steps both say how many rows make a step"
        return Finding(("batch_size",), message, "keep one of the two")
    if cfg.batch_size % cfg.micro_batch_size:
        message = f"batch_size {cfg.batch_size} is not a multiple of micro_batch_size {cfg.micro_batch_size}"
        return Finding(
            ("batch_size",), message, f"write `batch_size: {_multiple(cfg.batch_size, cfg.micro_batch_size)}`"
        )
    return None


def _multiple(number: int, factor: int) -> int:
    """The nearest multiple of `factor` that is not below `number`."""
    return -(-number // factor) * factor


def _moments(what: str) -> Check:
    """`what` is save or eval."""
    strategy, steps, per_epoch = f"{what}_strategy", f"{what}_steps", f"{what}s_per_epoch"

    def check(cfg: SftConfig) -> Finding | None:
        chosen = getattr(cfg, strategy)
        given = [key for key in (steps, per_epoch) if getattr(cfg, key)]
        if len(given) == 2:
            return Finding((per_epoch,), f"{steps} and {per_epoch} both say when to {what}", "keep one of the two")
        if chosen == "steps" and not given:
            return Finding((strategy,), f"`{strategy}: steps` without {steps}", f"add `{steps}: 100`, say")
        if chosen != "steps" and given:
            message = f"{given[0]} has no effect with `{strategy}: {chosen}`"
            return Finding((given[0],), message, f"write `{strategy}: steps`, or remove one of the two")
        return None

    return check


def _resume_folder(cfg: SftConfig) -> Finding | None:
    if cfg.resume_from_checkpoint != "":
        return None
    message = "resume_from_checkpoint is an empty text"
    return Finding(("resume_from_checkpoint",), message, "write true, false, or the path of a checkpoint")


TRAIN_RULES: tuple[Rule, ...] = (
    Rule("batch_size", ("batch_size", "gradient_accumulation_steps", "micro_batch_size"), _batch_size),
    Rule("save_steps", ("save_strategy", "save_steps", "saves_per_epoch"), _moments("save")),
    Rule("eval_steps", ("eval_strategy", "eval_steps", "evals_per_epoch"), _moments("eval")),
    Rule("empty_resume_folder", ("resume_from_checkpoint",), _resume_folder),
)
