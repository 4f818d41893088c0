"""Texts that two encoders are compared on before one stands in for the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

PROVEN_BELOW = 0x20000
"""Characters from here on (rare Chinese ones, tags, private ones) are not gone through one by one."""

_SURROGATES = range(0xD800, 0xE000)
_CHARACTERS_PER_TEXT = 512

_SCRIPTS = (
    "The quick brown fox doesn't jump; it's WE'LL they'Ve I'M you'D CAN'T o'clock 'tis rock'n'roll",
    "Größe, naïve café, İstanbul ıI ſt Kelvin K, Ångström Å, ﬁne ligature, Ǆ ǅ ǆ",
    "Привет, мир! Как дела? Ёлка. Γειά σου Κόσμε, ς σ. Հայերեն ქართული",
    "שלום עולם, מה נשמע? مرحبا بالعالم، كيف الحال؟ ١٢٣٤٥ ۱۲۳ سلام",
    "नमस्ते दुनिया, क्षत्रिय ज्ञ १२३ வணக்கம் ไทยไม่มีวรรค ลาว မြန်မာ ខ្មែរ",
    "你好,世界!今天天气怎么样?こんにちは、カタカナ ｶﾀｶﾅ 한국어 띄어쓰기 ㄱㄴ 漢字仮名",
    "👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ☺️ ☺︎ 1️⃣ 👨🏿‍💻👨🏿‍💻 🫠🫨 \u200d\u200d \ufe0f",
    "𝒜𝓁𝑔𝑒𝒷𝓇𝒶 𝟙𝟚𝟛 𐍈 𓀀 𝄞 ½ ² ³ ⅷ ⅓ ① ㊿ 𞤀",
    "e\u0301 a\u0308 A\u030a n\u0303\u0301 \u1e9b\u0323 \u212b \u2126 \u1100\u1161\u11a8 \u0915\u093c \ufb1d",
    "\u00a0a\u00a0 \u2003b\u2009c\u202fd\u3000e\u1680f\u2028g\u2029h\u0085i\u180ej\u200bk\ufeffl\u00adm",
    "\x00\x01\x02\x07\x08\x0b\x0c\x0e\x1b[0m\x1c\x1d\x1e\x1f\x7f\x80\x9f \ufffd \ufffe \U000f0000",
    "\u202eright to left\u202c \u2066isolate\u2069 \u061c z̸̡͚a̵l̴̢g̶o̷ \u0300\u0301\u0302",
)
_CODE = (
    "def f(x: int) -> int:\n    if x<=0:\n\treturn x**2  # naïve\n\n\n    return {'a': [1, 2.5e-10, 0xFF]}[\"a\"]\n",
    '<div class="a-b">&amp;</div>\r\n\r\n  <!-- x -->\r\n\t\t<p>1&nbsp;000,00 €</p>\r',
    '{"messages": [{"role": "user", "content": "\\n\\u00e9\\"quoted\\""}], "n": null, "f": -1.5E+3}',
    '#include <stdio.h>\nint main(void){for(int i=0;i<10;++i)printf("%d\\n",i);return 0;}\n//////////=====-----',
    "SELECT * FROM t WHERE a!='b''c' AND d::int%2=0;-- x\n$$\\frac{a_1}{b^2}\\le\\sum_{i=1}^{n}$$ ~~~ ``` ```",
    "0 1 12 123 1234 12345 1234567890 3.14159 1,000,000 1e10 v2.0.1 2026-11-25T09:48:41Z 192.168.0.1 +49(0)30",
)
_RUN_LENGTHS = (1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 99, 100, 101, 127, 129, 300, 2000)
_RUNS = (" ", "\n", "\t", "\r\n", "  \n", "a", "A", "0", "!", "=", "é", "語", "🙂", "\u00a0", "'s", "ab ", "\u0301")
_CONTROL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "[INST]", "<think>", "<|", "|>", "<|im_")
_BESIDE = ("", " ", "\n", "  ", "\n\n", "a", "1", "!", "'s", "é", "語", "\u0301", "🙂", "\t ", " a")


def probe_texts(added: Sequence[str]) -> list[str]:
    """Scripts, emoji, code, numbers, runs, control strings, and added tokens with text around them.

    Args:
        added: texts of the tokenizer's added tokens.
    """
    plain = [*_SCRIPTS, *_CODE, "".join(map(chr, range(128))), ""]
    pairs = [f"{left}{right}" for left, right in product((*_SCRIPTS, *_CODE), _CONTROL)]
    runs = [f"x{run * length}{tail}" for run in _RUNS for length in _RUN_LENGTHS for tail in ("", "y", "\n")]
    tokens = list(dict.fromkeys((*added, *_CONTROL)))
    beside = [f"{before}{token}{after}" for token in tokens[:40] for before, after in product(_BESIDE, _BESIDE)]
    others = [f"a {token}b{token}{token} \n{token[:-1]}{token[1:]}" for token in tokens]
    return [*plain, *pairs, *runs, *beside, *others]


def boundary_texts() -> list[str]:
    """Every character from U+0080 below `PROVEN_BELOW`, with each kind of neighbour on both sides."""
    characters = [chr(code) for code in range(0x80, PROVEN_BELOW) if code not in _SURROGATES]
    return [
        "".join(f"a{c}A{c}a1{c} {c}{c}!{c}\n'{c}b" for c in characters[first : first + _CHARACTERS_PER_TEXT])
        for first in range(0, len(characters), _CHARACTERS_PER_TEXT)
    ]
