"""Sources, formats, exact masks and packing for supervised fine-tuning, without torch."""

from sft_data.collate import collate, pack_row
from sft_data.generation import GenerationPrompt, generation_prompts
from sft_data.inspection import InspectedRow, inspect_rows
from sft_data.pack import lost_labels, plan_packs
from sft_data.prepare import Prepared, prepare, prepare_share
from sft_data.progress import Pace, Progress
from sft_data.store import SampleStore
from sft_data.tokenizer import TextTokenizer, load_tokenizer
from sft_data.verify import verify_prepared
from sft_data.vision import PictureProcessor, picture_batch

__all__ = [
    "GenerationPrompt",
    "InspectedRow",
    "Pace",
    "PictureProcessor",
    "Prepared",
    "Progress",
    "SampleStore",
    "TextTokenizer",
    "collate",
    "generation_prompts",
    "inspect_rows",
    "load_tokenizer",
    "lost_labels",
    "pack_row",
    "picture_batch",
    "plan_packs",
    "prepare",
    "prepare_share",
    "verify_prepared",
]
