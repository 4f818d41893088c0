"""The result as a model of the hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

from sft_schema import ConfigError, Issue, TrainingError
from sft_schema.config import SavingSection
from sft_train.checkpoint import files_of

_CARD = "README.md"
_FAILURES = (HfHubHTTPError, LocalTokenNotFoundError, OSError)


def require_hub(cfg: SavingSection) -> None:
    """Makes the model's repository on the hub, before a run that would end in vain without it.

    The token is the hub's own affair (`hf auth login`, HF_TOKEN): it is never a setting.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    if cfg.hub_model_id is None:
        return
    try:
        HfApi().create_repo(cfg.hub_model_id, private=cfg.hub_private_repo, exist_ok=True)
    except (HFValidationError, *_FAILURES) as error:
        message = f"{cfg.hub_model_id} cannot be made on the hub: {_cause(error)}"
        fix = "write OWNER/NAME, and log in as somebody who may write there (`hf auth login`), or remove it"
        raise ConfigError([Issue("hub_not_writable", ("hub_model_id",), message, fix)]) from error


def push_result(cfg: SavingSection, folder: Path) -> str | None:
    """Uploads the result and its card in one commit, and nothing else that is in the folder.

    Args:
        cfg: names the model.
        folder: `output_dir`; its manifest lists what belongs to the result.

    Returns:
        The address of the model; None when nothing is to be uploaded.

    Raises:
        TrainingError: it could not be uploaded. The result is in its folder.
    """
    if cfg.hub_model_id is None:
        return None
    names = [*files_of(folder), "manifest.json", _CARD]
    try:
        done = HfApi().upload_folder(
            repo_id=cfg.hub_model_id, folder_path=folder, allow_patterns=names, commit_message="Trained model"
        )
    except _FAILURES as error:
        message = f"the model is in {folder}, but {cfg.hub_model_id} could not be written: {_cause(error)}"
        listed = " ".join(f"--include {name}" for name in names)
        fix = f"upload it when the hub can be reached: `hf upload {cfg.hub_model_id} {folder} {listed}`"
        raise TrainingError(message, fix=fix) from error
    return done.repo_url.url


def _cause(error: Exception) -> str:
    """The first line; what follows are numbers of requests."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
