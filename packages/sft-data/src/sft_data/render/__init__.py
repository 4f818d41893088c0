"""Render: an example to the text that is tokenised, with the origin of its characters."""

from sft_data.render.named import control_tokens, named_template
from sft_data.render.segments import render_segments
from sft_data.render.template import ChatTemplate

__all__ = ["ChatTemplate", "control_tokens", "named_template", "render_segments"]
