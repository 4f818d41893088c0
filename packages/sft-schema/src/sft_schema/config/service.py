"""Services that show runs. Their keys and passwords are never settings: each service has its own place for them."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting


class ServiceSection(Section):
    """Services that runs are shown in, besides the files in `output_dir`."""

    use_wandb: bool = setting("Report to Weights & Biases; true where `wandb_project` is given.", False)
    wandb_project: str | None = setting("Project of Weights & Biases.", None, min_length=1)
    wandb_entity: str | None = setting("Team or user of Weights & Biases.", None, min_length=1)
    wandb_name: str | None = setting("Name of the run in Weights & Biases.", None, min_length=1)
    wandb_run_id: str | None = setting("Id of the run in Weights & Biases; one that exists is gone on with.", None)
    wandb_mode: Literal["online", "offline", "disabled"] | None = setting(
        "`offline` keeps the run in ./wandb for `wandb sync`, `disabled` writes nothing.", None
    )
    wandb_watch: Literal["gradients", "parameters", "all"] | None = setting(
        "Histograms of the weights to report.", None
    )
    wandb_log_model: Literal["checkpoint", "end"] | None = setting(
        "Upload each checkpoint, or the model at the end, as an artifact.", None
    )
    use_trackio: bool = setting("Report to Trackio; true where `trackio_project_name` is given.", False)
    trackio_project_name: str | None = setting("Project of Trackio.", None, min_length=1)
    trackio_run_name: str | None = setting("Name of the run in Trackio.", None, min_length=1)
    trackio_space_id: str | None = setting("Hugging Face Space to report to; without it Trackio stays local.", None)
    use_mlflow: bool = setting("Report to MLflow; true where `mlflow_experiment_name` is given.", False)
    mlflow_tracking_uri: str | None = setting("Server or folder of MLflow, without a password.", None, min_length=1)
    mlflow_experiment_name: str | None = setting("Experiment of MLflow.", None, min_length=1)
    mlflow_run_name: str | None = setting("Name of the run in MLflow.", None, min_length=1)
    hf_mlflow_log_artifacts: bool = setting("Copy each checkpoint to MLflow's artifacts.", False)
    use_comet: bool = setting("Report to Comet; true where `comet_project_name` is given.", False)
    comet_workspace: str | None = setting("Workspace of Comet.", None, min_length=1)
    comet_project_name: str | None = setting("Project of Comet.", None, min_length=1)
    comet_experiment_key: str | None = setting("Key of the experiment in Comet.", None, min_length=1)
    comet_mode: Literal["get_or_create", "create", "get"] | None = setting(
        "Whether Comet goes on with an experiment or makes one.", None
    )
    comet_online: bool | None = setting("Send to Comet's server, or keep the experiment in a local archive.", None)
    use_otel_metrics: bool = setting(
        "Send what is logged to an OpenTelemetry collector (OTLP over HTTP), which its own environment variables name.",
        False,
    )
