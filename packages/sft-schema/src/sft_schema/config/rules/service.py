"""Services that show runs: settings of one that is off, and secrets."""

from __future__ import annotations

from urllib.parse import urlsplit

from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule
from sft_schema.config.service import ServiceSection

_SERVICES = {"use_wandb": "wandb_", "use_trackio": "trackio_", "use_mlflow": "mlflow_", "use_comet": "comet_"}


def _setting_of_a_service_that_is_off(cfg: SftConfig) -> Finding | None:
    for switch, prefix in _SERVICES.items():
        if getattr(cfg, switch):
            continue
        for key, field in ServiceSection.model_fields.items():
            if key.removeprefix("hf_").startswith(prefix) and getattr(cfg, key) != field.default:
                message = f"{key} has no effect without `{switch}: true`"
                return Finding((key,), message, f"write `{switch}: true`, or remove it")
    return None


def _password(cfg: SftConfig) -> Finding | None:
    uri = cfg.mlflow_tracking_uri
    if uri is None or urlsplit(uri).password is None:
        return None
    fix = "write the address without it, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    return Finding(("mlflow_tracking_uri",), "it holds a password, and the config is kept beside the model", fix)


SERVICE_RULES: tuple[Rule, ...] = (
    Rule("service_is_off", tuple(ServiceSection.model_fields), _setting_of_a_service_that_is_off),
    Rule("secret_in_config", ("mlflow_tracking_uri",), _password),
)
