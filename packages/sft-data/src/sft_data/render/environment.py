# pyright: reportUnknownMemberType=false
# (the libraries used here ship no complete types)
"""The Jinja environment of chat templates: transformers' environment, made to carry origins.

What templates see equals `transformers.utils.chat_template_utils` 5.23 (sandbox, trimmed blocks, loop controls,
`raise_exception`, `strftime_now`, a `tojson` that does not escape HTML), so the rendered text is the same.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import reduce
from typing import Any, NoReturn, cast

from jinja2 import TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from sft_data.render.traced import Source, Traced, join_traced

_DICT_NAMES = frozenset(dir(dict))
"""What a dict has besides its items."""
_TEXT_METHODS = frozenset(
    name for name in dir(str) if not name.startswith("_") and name not in ("format", "format_map")
)
"""Those that the sandbox lets through as they are."""
_LOOP_NAMES = frozenset(name for name, each in vars(LoopContext).items() if name[0] != "_" and not callable(each))
"""What a loop says about itself without being called; Jinja's generated code imports LoopContext."""


class _TracingCodeGenerator(CodeGenerator):
    """Lets the `~` operator keep origins, where Jinja's own joins plain strings, and adds a chain of `+` at once.

    `message.role` and `loop.first` are most of what templates do, and are taken on the spot: a call takes ten times
    as long. What the sandbox guards is still asked for by its call.
    """

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:  # noqa: N802 - Jinja names it
        name = repr(node.attr)
        if node.attr in _DICT_NAMES:
            super().visit_Getattr(node, frame)
        elif node.attr in _LOOP_NAMES and isinstance(node.node, nodes.Name) and node.node.name == "loop":
            self.write(f"(held.{node.attr} if type(held := ")
            self.visit(node.node, frame)
            self.write(f") is LoopContext else environment.getattr(held, {name}))")
        else:
            self.write(f"(held[{name}] if type(held := ")
            self.visit(node.node, frame)
            self.write(f") is dict and {name} in held else environment.getattr(held, {name}))")

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:  # noqa: N802 - Jinja's
        """A method of a text with constant arguments, `content.strip()`, is called on the spot as well."""
        method = node.node
        plain = not (node.kwargs or node.dyn_args or node.dyn_kwargs or forward_caller)
        plain = plain and all(isinstance(each, nodes.Const) for each in node.args)
        if not (plain and isinstance(method, nodes.Getattr) and method.attr in _TEXT_METHODS):
            super().visit_Call(node, frame, forward_caller=forward_caller)
            return
        self.write(f"(held.{method.attr}(")
        for each in node.args:
            self.visit(each, frame)
            self.write(", ")
        self.write(") if type(held := ")
        self.visit(method.node, frame)
        self.write(f") in environment.texts else environment.call(context, environment.getattr(held, {method.attr!r})")
        self.signature(node, frame, {"_loop_vars": "_loop_vars"} if frame.loop_frame else None)
        self.write("))")

    def visit_Add(self, node: nodes.Add, frame: Frame) -> None:  # noqa: N802 - Jinja names it
        chain: list[nodes.Expr] = []
        first: nodes.Expr = node
        while isinstance(first, nodes.Add):
            chain.append(first.right)
            first = first.left
        self.write("environment.add((")
        for part in (first, *reversed(chain)):
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja names it
        self.write("environment.concat(map(str, (")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write(")))")


GENERATION = "{% generation %}"
"""Field of the source that marks such a block; its message is -1."""


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}` prints its body, marked as what the template calls generated."""

    tags = {"generation"}  # noqa: RUF012 - Jinja reads it from the class

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> Traced:
        body = caller()
        text = body if isinstance(body, Traced) else Traced(body)
        return Traced(text, (Source(0, len(text), -1, GENERATION, 0), *text.sources))


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(layout: str) -> str:
    return datetime.now().strftime(layout)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    origins = {(source.message, source.field) for source in _sources(value)}
    messages = {message for message, _ in origins}
    if len(messages) != 1:
        return text
    # one span for the whole text: it may be quoted and escaped, so single characters have no origin
    field = min(field for _, field in origins).rpartition(".")[0] if len(origins) > 1 else min(origins)[1]
    return Traced(text, (Source(0, len(text), messages.pop(), field, 0),))


def _sources(value: Any) -> Iterable[Source]:
    if isinstance(value, Traced):
        yield from (source for source in value.sources if source.message >= 0)
    elif isinstance(value, Mapping):
        for each in cast("Mapping[Any, Any]", value).values():
            yield from _sources(each)
    elif isinstance(value, list | tuple):
        for each in cast("list[Any]", value):
            yield from _sources(each)


def _join(parts: Iterable[Any], separator: str = "", attribute: str | None = None) -> Traced:
    chosen = parts if attribute is None else (part[attribute] for part in parts)
    return Traced.join(Traced(separator, getattr(separator, "sources", ())), (str(part) for part in chosen))


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with a shorter way to what templates read most; it gives what the sandbox would give."""

    texts = frozenset({str, Traced})

    @staticmethod
    def add(parts: Sequence[Any]) -> Any:
        """`a + b + c`, from the left; texts are copied once, however many there are."""
        for part in parts:
            if not isinstance(part, str):
                return reduce(operator.add, parts)
        return Traced.joined(parts)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute`: an attribute that is safe, else an item, else undefined."""
        kind = cast("type[object]", type(obj))
        if kind is dict:
            if attribute not in _DICT_NAMES:  # a dict has no other attributes: it is an item or nothing
                return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        elif kind is Traced or kind is str:
            if attribute in _TEXT_METHODS:
                return getattr(obj, attribute)
        elif kind is Namespace and attribute[0] != "_":
            value = getattr(obj, attribute, None)
            if value is not None and not callable(value):  # the sandbox looks closer at what can be called
                return value
        return super().getattr(obj, attribute)


def make_environment() -> ImmutableSandboxedEnvironment:
    """An environment whose output is a Traced."""
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.code_generator_class = _TracingCodeGenerator
    environment.concat = join_traced  # pyright: ignore[reportAttributeAccessIssue]: Jinja's documented hook
    filters, names = cast("dict[str, Any]", environment.filters), cast("dict[str, Any]", environment.globals)
    filters |= {"tojson": _tojson, "join": _join}
    names |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    return environment
