"""Writes the shape of the quickstart's base model: `python -m tools.quickstart.make_base`.

A Llama of two million parameters. Its weights come from pretraining (see build.py); this file only says
what they are the weights of.
"""

import argparse
import json
from pathlib import Path

from tokenizers import Tokenizer
from tools.quickstart.make_tokenizer import PAD, TURN_END

CONTEXT = 1024


def config(tokenizer: Tokenizer) -> dict[str, object]:
    """What config.json says. The dtype is the one to train in; the file on disk is smaller, in bfloat16."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "head_dim": 32,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.02,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.token_to_id(TURN_END),
        "pad_token_id": tokenizer.token_to_id(PAD),
        "dtype": "float32",
    }


def generation_config(tokenizer: Tokenizer) -> dict[str, object]:
    """What generation_config.json says: greedy, until the turn ends."""
    return {
        "do_sample": False,
        "eos_token_id": tokenizer.token_to_id(TURN_END),
        "pad_token_id": tokenizer.token_to_id(PAD),
        "max_new_tokens": 32,
    }


def write(folder: Path) -> None:
    """Writes config.json and generation_config.json beside the folder's tokenizer.json."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for name, content in (("config", config(tokenizer)), ("generation_config", generation_config(tokenizer))):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the base model's config.")
    parser.add_argument("--out", type=Path, default=Path("examples/quickstart/base"))
    write(parser.parse_args().out)
