"""The model and its tokenizer."""

from sft_train.model.architecture import check_architecture
from sft_train.model.attention import backend_problem
from sft_train.model.fuse import fuse_layers
from sft_train.model.generation import set_generation_defaults
from sft_train.model.load import load_model
from sft_train.model.quantise import embedded_ids, quantisation, quantised_layers, settle_quantised, weights_of
from sft_train.model.tile import tile_mlps
from sft_train.model.tokenizer import load_tokenizer
from sft_train.model.unfrozen import freeze_others

__all__ = [
    "backend_problem",
    "check_architecture",
    "embedded_ids",
    "freeze_others",
    "fuse_layers",
    "load_model",
    "load_tokenizer",
    "quantisation",
    "quantised_layers",
    "set_generation_defaults",
    "settle_quantised",
    "tile_mlps",
    "weights_of",
]
