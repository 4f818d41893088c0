"""Parts of other distributions that take a hand in training."""

from __future__ import annotations

from sft_schema.config.section import Section, setting

PluginValue = bool | int | float | str | list[str] | list[int] | list[float]


class PluginSection(Section):
    """Parts of other distributions that take a hand in training."""

    training_plugins: dict[str, dict[str, PluginValue]] = setting(
        "Plug-ins by name, each with settings of its own, such as `lisa: {layers: 2}`; see plugins.md.", {}
    )
