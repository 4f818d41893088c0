"""Sources, formats, exact masks and packing for supervised fine-tuning, without torch."""

from sft_data.collate import collate, pack_row
from sft_data.generation import GenerationPrompt, generation_prompts
from sft_data.inspection import InspectedRow, inspect_rows
from sft_data.pack import plan_packs
from sft_data.prepare import Prepared, prepare
from sft_data.store import PicturedStore, SampleStore
from sft_data.tokenizer import TextTokenizer, load_tokenizer
from sft_data.vision import PictureProcessor, picture_batch

__all__ = [
    "GenerationPrompt",
    "InspectedRow",
    "PictureProcessor",
    "PicturedStore",
    "Prepared",
    "SampleStore",
    "TextTokenizer",
    "collate",
    "generation_prompts",
    "inspect_rows",
    "load_tokenizer",
    "pack_row",
    "picture_batch",
    "plan_packs",
    "prepare",
]
