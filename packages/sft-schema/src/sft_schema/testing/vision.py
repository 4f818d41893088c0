r"""Tiny processors and pictures for tests, as the files that transformers and Pillow read: nothing to download.

Every family has its own way to write a picture into a text, with a template in the family's style:

    llava      USER: <image>\n...             16 times `<image>`; reads contents as lists alone, pictures first
    qwen2_vl   <|vision_start|><|image_pad|>  as many as the picture is large; no fixed size
    gemma3     <start_of_image>               line breaks, a begin, 16 soft tokens, an end
    mllama     <|image|>                      one token; the picture goes through cross-attention
    pixtral    [IMG]                          one for each patch, a break after each line
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class VisionFamily:
    """What a family's processor is made of.

    Attributes:
        processor: content of processor_config.json.
        template: its chat template.
        special: texts of special tokens, the pad token first, then the one that ends a turn.
        named: names that its tokenizer has for some of them.
    """

    processor: dict[str, Any]
    template: str
    special: tuple[str, ...]
    named: dict[str, str] = field(default_factory=dict[str, str])


def _template(begin: str, role: str, end: str, picture: str, prompt: str) -> str:
    """Turns of text and picture parts in order."""
    return (
        f"{begin}{{% for m in messages %}}{role}{{% if m.content is string %}}{{{{ m.content }}}}{{% else %}}"
        f"{{% for part in m.content %}}{{% if part.type == 'image' %}}{picture}{{% else %}}{{{{ part.text }}}}"
        f"{{% endif %}}{{% endfor %}}{{% endif %}}{end}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{prompt}{{% endif %}}"
    )


_LLAVA = (
    "{% for m in messages %}{{ 'USER: ' if m.role == 'user' else 'ASSISTANT: ' }}"
    "{% for part in m.content if part.type == 'image' %}<image>\n{% endfor %}"
    "{% for part in m.content if part.type == 'text' %}{{ part.text }}{% endfor %}"
    "{{ ' ' if m.role == 'user' else '</s>' }}{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)

FAMILIES: dict[str, VisionFamily] = {
    "llava": VisionFamily(
        {
            "processor_class": "LlavaProcessor",
            "patch_size": 8,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
            "image_processor": {
                "image_processor_type": "CLIPImageProcessor",
                "size": {"shortest_edge": 32},
                "crop_size": {"height": 32, "width": 32},
            },
        },
        _LLAVA,
        ("<pad>", "</s>", "<image>"),
    ),
    "qwen2_vl": VisionFamily(
        {
            "processor_class": "Qwen2VLProcessor",
            "image_processor": {
                "image_processor_type": "Qwen2VLImageProcessor",
                "patch_size": 14,
                "merge_size": 2,
                "temporal_patch_size": 2,
                "size": {"shortest_edge": 784, "longest_edge": 12544},
            },
            "video_processor": {"video_processor_type": "Qwen2VLVideoProcessor"},
        },
        _template(
            "",
            "<|im_start|>{{ m.role }}\n",
            "<|im_end|>\n",
            "<|vision_start|><|image_pad|><|vision_end|>",
            "<|im_start|>assistant\n",
        ),
        ("<pad>", "<|im_end|>", "<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    ),
    "gemma3": VisionFamily(
        {
            "processor_class": "Gemma3Processor",
            "image_seq_length": 16,
            "image_processor": {
                "image_processor_type": "Gemma3ImageProcessor",
                "size": {"height": 32, "width": 32},
            },
        },
        _template(
            "{{ bos_token }}",
            "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n",
            "<end_of_turn>\n",
            "<start_of_image>",
            "<start_of_turn>model\n",
        ),
        ("<pad>", "<end_of_turn>", "<bos>", "<start_of_turn>", "<start_of_image>", "<end_of_image>", "<soft>"),
        {"image_token": "<soft>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "bos_token": "<bos>"},
    ),
    "mllama": VisionFamily(
        {
            "processor_class": "MllamaProcessor",
            "image_processor": {
                "image_processor_type": "MllamaImageProcessor",
                "size": {"height": 28, "width": 28},
                "max_image_tiles": 2,
            },
        },
        _template(
            "{{ bos_token }}",
            "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n",
            "<|eot_id|>",
            "<|image|>",
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        ("<pad>", "<|eot_id|>", "<|bos|>", "<|start_header_id|>", "<|end_header_id|>", "<|image|>", "<|python_tag|>"),
        {"bos_token": "<|bos|>"},
    ),
    "pixtral": VisionFamily(
        {
            "processor_class": "PixtralProcessor",
            "patch_size": 8,
            "image_processor": {
                "image_processor_type": "PixtralImageProcessor",
                "patch_size": {"height": 8, "width": 8},
                "size": {"longest_edge": 32},
            },
        },
        _template(
            "{{ bos_token }}",
            "{% if m.role == 'user' %}[INST]{% endif %}",
            "{% if m.role == 'user' %}[/INST]{% else %}</s>{% endif %}",
            "[IMG]",
            "",
        ),
        ("<pad>", "</s>", "<s>", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"),
        {"bos_token": "<s>"},
    ),
}


def write_processor(folder: Path, family: str) -> Path:
    """Writes tokenizer.json (a token for each byte), its settings, the processor's, and the chat template.

    Args:
        folder: made if absent.
        family: one of `FAMILIES`.

    Returns:
        `folder`.
    """
    row = FAMILIES[family]
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": row.special[0],
        "eos_token": row.special[1],
        "clean_up_tokenization_spaces": False,
        **row.named,
    }
    _write(folder / "tokenizer.json", _byte_tokenizer(row.special))
    _write(folder / "tokenizer_config.json", settings)
    _write(folder / "processor_config.json", row.processor)
    (folder / "chat_template.jinja").write_text(row.template, encoding="utf-8")
    return folder


def token_ids(family: str) -> dict[str, int]:
    """Special token to id; the 256 bytes come after them."""
    return {token: index for index, token in enumerate(FAMILIES[family].special)}


def write_png(file: Path, width: int, height: int, colour: tuple[int, int, int]) -> Path:
    """Writes a picture of one colour, darker towards the left.

    Args:
        file: its folder exists.
        width: in pixels.
        height: in pixels.
        colour: red, green and blue, 0 to 255.

    Returns:
        `file`.
    """
    line = b"".join(bytes(part * (x + 1) // width for part in colour) for x in range(width))
    body = zlib.compress((b"\0" + line) * height)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", body), _chunk(b"IEND", b""))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return file


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _byte_tokenizer(special: tuple[str, ...]) -> dict[str, Any]:
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    letters = sorted(chr(byte if byte in visible else next(others)) for byte in range(256))
    vocabulary = {token: index for index, token in enumerate([*special, *letters])}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "added_tokens": [{"id": vocabulary[token], "content": token, **flags} for token in special],
        "pre_tokenizer": bytewise,
        "decoder": bytewise,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }
