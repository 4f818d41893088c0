"""Encode: rendered texts to tokens with their characters."""

from sft_data.encode.encoder import Encoder, EngineChoice

__all__ = ["Encoder", "EngineChoice"]
