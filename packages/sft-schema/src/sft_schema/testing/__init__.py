"""The conformance kit: executable contracts for parts that other distributions add.

    from sft_schema.testing import check_format

    def test_my_format():
        check_format(my_format, [{"question": "2+2?", "answer": "4"}])

Each check raises `ContractError` at the first promise that is broken and returns how many cases it went through.
`sft_schema.testing.strategies` holds hypothesis strategies; it needs the extra `sft-schema[testing]`.
"""

from sft_schema.testing.attention import check_attention_backend
from sft_schema.testing.attention_case import AttentionCase
from sft_schema.testing.format import GivenRow, check_format
from sft_schema.testing.packer import check_packer
from sft_schema.testing.source import check_source
from sft_schema.testing.word_tokenizer import WordTokenizer

__all__ = [
    "AttentionCase",
    "GivenRow",
    "WordTokenizer",
    "check_attention_backend",
    "check_format",
    "check_packer",
    "check_source",
]
