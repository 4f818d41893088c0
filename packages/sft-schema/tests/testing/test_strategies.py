"""The strategies give what their names say, and testing is not loaded with the package."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from sft_schema.config import DatasetConfig
from sft_schema.record import Conversation, Message, Segments
from sft_schema.testing import strategies


@given(strategies.conversations(max_turns=2))
def test_conversations_end_with_an_answer(conversation: Conversation) -> None:
    roles = [message.role for message in conversation.messages]
    turns = roles[1:] if roles[0] == "system" else roles
    assert turns in (["user", "assistant"], ["user", "assistant"] * 2)


@given(strategies.messages(("tool",)))
def test_messages_have_the_roles_asked_for(message: Message) -> None:
    assert message.role == "tool"
    assert isinstance(message.content, str)


@given(strategies.segments())
def test_segments_have_something_to_train(segments: Segments) -> None:
    assert any(segment.train for segment in segments.segments)


@given(strategies.lengths(longest=9, max_size=5))
def test_lengths_stay_within_their_bounds(lengths: list[int]) -> None:
    assert len(lengths) <= 5
    assert all(1 <= length <= 9 for length in lengths)


@given(st.data())
def test_rows_use_the_names_of_the_data_set(data: st.DataObject) -> None:
    cfg = DatasetConfig(path="x", field_messages="turns", message_property_mappings={"role": "from"})
    row = data.draw(strategies.chat_rows(cfg))
    assert set(row) == {"turns"}
    turns = row["turns"]
    assert isinstance(turns, list)
    assert all(set(turn) == {"from", "content"} for turn in turns)


def loaded_after(statement: str) -> set[str]:
    names = "'sft_schema.testing', 'hypothesis', 'sft_schema.plugin', 'importlib.metadata'"
    code = f"{statement}\nimport sys; print('LOADED', *{{{names}}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split("LOADED")[1].split())


def test_the_kit_is_loaded_only_when_asked_for() -> None:
    assert not loaded_after("import sft_schema") & {"sft_schema.testing", "hypothesis", "sft_schema.plugin"}
    assert loaded_after("import sft_schema.testing") & {"sft_schema.testing", "hypothesis"} == {"sft_schema.testing"}


def test_without_hypothesis_the_extra_is_named() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import sft_schema.testing.strategies"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "needs hypothesis: install sft-schema[testing]" in done.stderr
