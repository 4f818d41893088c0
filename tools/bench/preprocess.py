"""Times conversations to masked tokens beside encoding alone, and beside other systems.

uv run python tools/bench/preprocess.py --tokenizers DIR [--rows N] [--data DIR] [--peers trl,axolotl] [--json]

DIR holds a folder for each of `qwen3` and `llama3.1` (tokenizer.json, tokenizer_config.json, chat_template.jinja).
The conversations have about 8 messages and 520 tokens. They are drawn, the same ones each time, from the messages of
the *.jsonl files that `--data` names a folder of, else from made-up sentences. Each contender runs in a process of
its own, all of them in turn, `--runs` times over; the best time counts, since a shared machine only ever adds to it.

encode            `tokenizers` encode_batch with offsets, texts rendered already, 512 at a time, all cores
ours              rows to rendered to tokens to masked samples, a process for each core; they have started, and the
                  proof is done, before the clock starts
ours, tokenizers  the same as it is without tiktoken
ours, prepare     the whole of `sft-data prepare`: a process for each core, the proof and the files written included;
                  its memory is that of the largest process
trl, axolotl      what they prepare a data set with, 2 processes, in environments that uv makes in `--cache`; of
                  axolotl its preprocess command without its imports, but with the start of its worker processes

ratio_to_encode   tokens/s over those of `encode`; `cpu` is the seconds of all threads and processes
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SEED = 20_261_125
TOKENIZERS = ("qwen3", "llama3.1")
CONTENDERS = Path(__file__).parent / "contenders"
OWN = {"encode": "raw", "ours": "tiktoken", "ours, tokenizers": "tokenizers", "ours, prepare": "prepare"}
PEERS = {"trl": ["trl==1.16.*", "peft", "torch"], "axolotl": ["axolotl==0.19.*", "torch"]}
_INSTALL_SECONDS = 600
_RUN_SECONDS = 1800
_SHORT, _LONG = (200, 300, 400), (300, 500, 800)
"""Characters that a question and an answer are cut to."""


def texts_of(data: Path | None) -> list[str]:
    """Texts to draw messages from."""
    found: list[str] = []
    for file in sorted(data.glob("*.jsonl")) if data else ():
        for line in filter(None, file.read_text(encoding="utf-8").split("\n")):
            contents = [message.get("content") for message in json.loads(line).get("messages", ())]
            found.extend(text for text in contents if isinstance(text, str) and 20 < len(text) < 1200)
    return found or sentences()


def sentences() -> list[str]:
    """Made-up sentences: words of one to four syllables with commas, numbers and line breaks."""
    draw = random.Random(SEED)
    syllables = [a + b for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "an", "er", "ing")]
    words = ["".join(draw.choices(syllables, k=draw.choice((1, 1, 2, 2, 3, 4)))) for _ in range(3000)]
    ends = (" ", " ", " ", " ", ", ", ". ", "? ", "\n", " 42 ")
    return ["".join(draw.choice(words) + draw.choice(ends) for _ in range(120)) for _ in range(2000)]


def write_rows(file: Path, rows: int, texts: list[str]) -> None:
    draw = random.Random(SEED)
    with file.open("w", encoding="utf-8") as out:
        for _ in range(rows):
            messages: list[dict[str, str]] = []
            for _ in range(draw.choice((3, 4, 4, 5))):
                messages.append({"role": "user", "content": draw.choice(texts)[: draw.choice(_SHORT)]})
                messages.append({"role": "assistant", "content": draw.choice(texts)[: draw.choice(_LONG)]})
            out.write(json.dumps({"messages": messages}) + "\n")


def peer_python(name: str, cache: Path) -> str:
    """The interpreter of an environment that has a peer; raises SystemExit with the reason it cannot be made."""
    folder = cache / name
    python = folder / "bin" / "python"
    if not python.is_file():
        run_or_stop(["uv", "venv", "--python", platform.python_version(), str(folder)], _INSTALL_SECONDS)
        install = ["uv", "pip", "install", "--compile-bytecode", "--python", str(python)]  # else every worker compiles
        run_or_stop([*install, *PEERS[name]], _INSTALL_SECONDS)
    return str(python)


def run_or_stop(command: list[str], seconds: int) -> str:
    try:
        quiet = os.environ | {"DO_NOT_TRACK": "1"}  # axolotl waits for its telemetry, half a minute without a network
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds, env=quiet)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"not done in {seconds} s") from None
    if done.returncode:
        raise SystemExit(" ".join((done.stderr or done.stdout).split())[-300:])
    return done.stdout


def run_one(name: str, tokenizer: Path, rows: Path, cache: Path) -> dict[str, Any]:
    """What one process of a contender measured, or why it could not."""
    try:
        if name in OWN:
            command = [sys.executable, str(CONTENDERS / "own.py"), OWN[name], str(tokenizer), str(rows)]
        else:
            command = [peer_python(name, cache), str(CONTENDERS / f"peer_{name}.py"), str(tokenizer), str(rows)]
        return json.loads(run_or_stop(command, _RUN_SECONDS).splitlines()[-1])
    except (SystemExit, FileNotFoundError) as error:
        return {"missing": str(error)}


def measure(tokenizer: Path, names: list[str], rows: Path, cache: Path, runs: int) -> dict[str, dict[str, Any]]:
    """The best run of each contender."""
    best: dict[str, dict[str, Any]] = {}
    for _ in range(runs):
        for name in names:
            found = best[name] if "missing" in best.get(name, {}) else run_one(name, tokenizer, rows, cache)
            if name not in best or found.get("seconds", 0) < best[name].get("seconds", 0):
                best[name] = found
    encode = best["encode"]
    for found in best.values():
        if "missing" not in found and "missing" not in encode:
            found["rows_per_s"] = round(found["rows"] / found["seconds"], 1)
            found["tokens_per_s"] = round(found["tokens"] / found["seconds"])
            found["ratio_to_encode"] = round(found["tokens_per_s"] / (encode["tokens"] / encode["seconds"]), 3)
    return best


def table(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    lines = [
        "| tokenizer | contender | rows/s | tokens/s | ratio to encode | cpu s | peak MB | |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for tokenizer, contenders in found.items():
        for name, row in contenders.items():
            if "ratio_to_encode" not in row:
                lines.append(f"| {tokenizer} | {name} | | | | | | missing: {row.get('missing')} |")
                continue
            note = row.get("note") or ", ".join(f"{key}: {count} rows" for key, count in row["engines"].items())
            if row.get("proof", 0) > 0.1:
                note += f"; proof and warm-up {row['proof']:.1f} s"
            cells = [f"{row['rows_per_s']:,.0f}", f"{row['tokens_per_s']:,}", f"{row['ratio_to_encode']:.2f}"]
            cells += [f"{row['cpu']:.1f}", f"{row['memory_mb']:,}", note]
            lines.append(f"| {tokenizer} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizers", type=Path, required=True, metavar="DIR", help="folder of tokenizers")
    parser.add_argument("--data", type=Path, help="folder of *.jsonl to draw texts from")
    parser.add_argument("--rows", type=int, default=20_000, help="conversations")
    parser.add_argument("--runs", type=int, default=2, help="runs of each contender")
    parser.add_argument("--peers", default="", help="trl, axolotl or both, with a comma")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "sft-bench-peers")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    names = [*OWN, *(name for name in given.peers.split(",") if name)]
    unknown = [name for name in names if name not in OWN and name not in PEERS]
    folders = [given.tokenizers / name for name in TOKENIZERS if (given.tokenizers / name).is_dir()]
    if unknown or not folders:
        print(f"unknown peers {unknown}; tokenizers found: {[each.name for each in folders]}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows.jsonl"
        write_rows(rows, given.rows, texts_of(given.data))
        found = {each.name: measure(each, names, rows, given.cache, given.runs) for each in folders}
    if given.json:
        ours = {tokenizer: contenders["ours"] for tokenizer, contenders in found.items()}
        about = {"python": platform.python_version(), "cores": os.cpu_count(), "rows": given.rows}
        print(json.dumps({**about, "ours": ours, "contenders": found}, indent=2))
    else:
        print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
