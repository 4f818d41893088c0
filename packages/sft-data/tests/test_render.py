"""Rendered text equals that of a stock Jinja environment, and spans name the right characters."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sft_data.render import ChatTemplate, render_segments
from sft_data.row import RowError
from sft_schema import DataError
from sft_schema.check import check_rendered
from sft_schema.record import Conversation, Segment, Segments

TEMPLATES = {
    "concatenation": "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] | trim + '\n' }}{% endfor %}",
    "tilde": "{% for m in messages %}{{ '<' ~ m.role ~ '>' ~ m.content ~ loop.index ~ '\n' }}{% endfor %}",
    "macro": (
        "{% macro say(m) %}{{ m.role }}: {{ m.content }}|{% endmacro %}{% for m in messages %}{{ say(m) }}{% endfor %}"
    ),
    "set block": "{% for m in messages %}{% set x %}{{ m.role }}={{ m.content }}{% endset %}[{{ x }}]{% endfor %}",
    "split": "{% for m in messages %}{{ m.role }}:{{ m.content.split('a')[-1].lstrip('\n') }};{% endfor %}",
    "replace": "{% for m in messages %}{{ [m.role, m.content] | join(': ') | replace('b', 'BB') }}\n{% endfor %}",
    "slice": "{% for m in messages[::-1] %}{{ m.role[0:2] }}{{ m.content[1:-1] }}.{% endfor %}",
    "namespace": (
        "{% set ns = namespace(t='') %}"
        "{% for m in messages %}{% set ns.t = ns.t + m.content + '/' %}{% endfor %}{{ ns.t }}"
    ),
    "tojson": "{% for m in messages %}{{ {'r': m.role, 'c': m.content} | tojson }}\n{% endfor %}",
    "upper": "{% for m in messages %}{{ m.role | upper }}{{ m.content | upper }}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
}

contents = st.text(alphabet=st.sampled_from("ab \n\"'\\<|>é🙂\u200d\u0301\u202e{}%"), max_size=20)
conversations = st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), contents), min_size=1, max_size=5)


def stock(template: str, messages: list[dict[str, str]]) -> str:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    plain = template.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    return environment.from_string(plain).render(messages=messages)


@pytest.mark.parametrize("name", TEMPLATES)
@given(conversations)
@settings(max_examples=60, deadline=None)
def test_text_is_that_of_plain_jinja_and_spans_are_honest(name: str, chat: list[tuple[str, str]]) -> None:
    messages = [{"role": role, "content": content} for role, content in chat]
    rendered = ChatTemplate(TEMPLATES[name], {}, {}).render(Conversation.model_validate({"messages": messages}))
    assert rendered.text == stock(TEMPLATES[name], messages)
    check_rendered(rendered)
    for span in rendered.spans if name != "tojson" else ():
        wanted = messages[span.message][span.field][span.offset : span.offset + span.end - span.start]
        assert rendered.text[span.start : span.end] == wanted


def test_json_of_one_message_is_one_span() -> None:
    template = "{% for m in messages %}call:{{ m.tool_calls[0].function | tojson }};{% endfor %}"
    call = {"function": {"name": "weather", "arguments": {"city": 'Pa"ris', "days": 2}}}
    conversation = Conversation.model_validate({"messages": [{"role": "assistant", "tool_calls": [call]}]})
    rendered = ChatTemplate(template, {}, {}).render(conversation)
    (span,) = rendered.spans
    assert rendered.text[span.start : span.end] == json.dumps(call["function"])
    assert span.message == 0


def test_special_tokens_tools_and_arguments_reach_the_template() -> None:
    template = "{{ bos_token }}{{ tools[0].name }}{{ mode }}{{ messages[0].thinking }}{{ documents is none }}"
    value = {"messages": [{"role": "user", "content": "x", "reasoning": "why"}], "tools": [{"name": "t"}]}
    rendered = ChatTemplate(template, {"bos_token": "<s>"}, {"mode": "M"}).render(Conversation.model_validate(value))
    assert rendered.text == "<s>tMwhyTrue"


def test_a_template_that_raises_refuses_the_row() -> None:
    template = ChatTemplate("{{ raise_exception('only users') }}", {}, {})
    with pytest.raises(RowError, match="only users") as caught:
        template.render(Conversation.model_validate({"messages": [{"role": "tool", "content": ""}]}))
    assert caught.value.reason == "template_refused"


def test_half_a_surrogate_pair_refuses_the_row() -> None:
    template = ChatTemplate("{{ messages[0].content }}", {}, {})
    with pytest.raises(RowError, match="surrogate"):
        template.render(Conversation.model_validate({"messages": [{"role": "user", "content": "a\ud800"}]}))


def test_a_template_cannot_reach_python() -> None:
    template = ChatTemplate("{{ messages.__class__.__mro__ }}", {}, {})
    conversation = Conversation.model_validate({"messages": [{"role": "user", "content": "x"}]})
    with pytest.raises(RowError):
        template.render(conversation)


def test_broken_jinja_is_named() -> None:
    with pytest.raises(DataError, match="not valid Jinja"):
        ChatTemplate("{% for m in %}", {}, {})


def test_segments_stand_between_begin_and_end_tokens() -> None:
    pieces = (
        Segment(text="ask ", train=False, role="user", field="instruction"),
        Segment(text="say", train=True, role="assistant", field="output"),
    )
    rendered = render_segments(Segments(segments=pieces), bos="<s>", eos="</s>")
    assert rendered.text == "<s>ask say</s>"
    assert [rendered.text[span.start : span.end] for span in rendered.spans] == ["ask ", "say"]
