"""A packed row as coloured text in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from sft_cli.account import percent
from sft_cli.token_groups import MessageTokens, group_tokens
from sft_cli.visible import token_text, visible

if TYPE_CHECKING:
    from sft_data import InspectedRow

TRAINED, MASKED, LABEL = "bold underline green", "dim", "bold cyan"
PLAIN_MARKS = ("⟦", "⟧")
"""Around trained text where there are no styles."""


def print_row(console: Console, row: InspectedRow) -> None:
    """Prints one packed row; nothing is wrapped, so that copied text is the rendered text."""
    for line in row_lines(row, plain=not console.is_terminal):
        console.print(line, soft_wrap=True)


def legend(*, plain: bool) -> Text:
    """How to read the tokens."""
    before, after = PLAIN_MARKS if plain else ("", "")
    return Text.assemble(
        (f"{before}trained{after}", TRAINED),
        ": the model learns to write this    ",
        ("masked", MASKED),
        ": it only reads this    ⏎: newline    ⋯: another token of the same character",
    )


def row_lines(row: InspectedRow, *, plain: bool) -> list[Text]:
    """The lines of one packed row.

    Args:
        row: the row.
        plain: mark trained text with brackets, for an output without styles.
    """
    trained, total = sum(token.trained for token in row.tokens), len(row.tokens)
    count = len(row.origins)
    lines = [
        Text(
            f"row {row.row}: {count} sample{'' if count == 1 else 's'}, {total:,} tokens, "
            f"{trained:,} trained ({percent(trained / max(1, total))})",
            style="bold",
        )
    ]
    for sample in group_tokens(row.tokens, row.origins):
        lines.append(Text())
        lines.append(
            Text.assemble(
                (f"sample {sample.sample}", "bold"),
                f"  {visible(sample.origin.place)}  {sample.tokens:,} tokens, {sample.trained:,} trained",
            )
        )
        for message in sample.messages:
            lines.append(Text(f"-- {visible(message.label)} --", style=LABEL))
            lines.append(_tokens(message, plain=plain))
    return lines


def _tokens(message: MessageTokens, *, plain: bool) -> Text:
    text = Text()
    opening, closing = PLAIN_MARKS if plain else ("", "")
    inside = False
    for token in message.tokens:
        if token.trained != inside:
            text.append(opening if token.trained else closing)
            inside = token.trained
        text.append(token_text(token.text), style=TRAINED if token.trained else MASKED)
    text.append(closing if inside else "")
    if text.plain.endswith("\n"):
        text.right_crop(1)  # the line ends anyway
    return text
