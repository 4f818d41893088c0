"""A Traced behaves like the plain string and knows where its characters came from."""

from hypothesis import given
from hypothesis import strategies as st

from sft_data.render.traced import Source, Traced, join_traced

texts = st.text(alphabet=st.sampled_from("ab \n\t<|é🙂\u200d\u0301"), max_size=12)
separators = st.text(alphabet="ab \n", min_size=1, max_size=2)


def field(text: str) -> Traced:
    return Traced.of(text, 3, "content")


def assert_honest(result: object, plain: object, origin: str) -> None:
    """Equal to what `str` gives, and every source names the very characters of the field."""
    assert result == plain
    for piece in result if isinstance(result, list | tuple) else [result]:
        assert isinstance(piece, Traced)
        for source in piece.sources:
            length = source.end - source.start
            assert piece.cut(source.start, source.end) == origin[source.offset : source.offset + length]


@given(texts)
def test_stripping_keeps_origins(text: str) -> None:
    for name in ("strip", "lstrip", "rstrip"):
        assert_honest(getattr(field(text), name)(), getattr(text, name)(), text)
        assert_honest(getattr(field(text), name)("a\n"), getattr(text, name)("a\n"), text)


@given(texts, separators, st.integers(-1, 3))
def test_splitting_keeps_origins(text: str, separator: str, most: int) -> None:
    traced = field(text)
    assert_honest(traced.split(separator, most), text.split(separator, most), text)
    assert_honest(traced.rsplit(separator, most), text.rsplit(separator, most), text)
    assert_honest(traced.split(None, most), text.split(None, most), text)
    assert_honest(traced.rsplit(None, most), text.rsplit(None, most), text)
    assert_honest(traced.partition(separator), text.partition(separator), text)
    assert_honest(traced.rpartition(separator), text.rpartition(separator), text)
    assert_honest(traced.splitlines(), text.splitlines(), text)
    assert_honest(traced.splitlines(True), text.splitlines(True), text)


@given(texts, st.integers(-14, 14), st.integers(-14, 14))
def test_slicing_keeps_origins(text: str, start: int, end: int) -> None:
    assert_honest(field(text)[start:end], text[start:end], text)
    assert field(text)[::2] == text[::2]
    assert list(field(text)) == list(text)


@given(texts, separators, texts, st.integers(-1, 2))
def test_replacing_keeps_the_origin_of_what_stays(text: str, old: str, new: str, most: int) -> None:
    assert_honest(field(text).replace(old, new, most), text.replace(old, new, most), text)
    assert field(text).replace("", new) == text.replace("", new)


@given(texts, texts)
def test_affixes_and_concatenation(text: str, other: str) -> None:
    assert_honest(field(text).removeprefix(other), text.removeprefix(other), text)
    assert_honest(field(text).removesuffix(other), text.removesuffix(other), text)
    assert_honest(other + field(text) + other, other + text + other, text)
    assert_honest(field(text).join([other, field(text)]), text.join([other, text]), text)
    assert hash(field(text)) == hash(text)


def test_an_empty_field_still_marks_its_place() -> None:
    joined = join_traced(["header ", field(""), " tail"])
    assert joined.sources == (Source(7, 7, 3, "content", 0),)
    assert field("  \n").strip().sources[0].start == 0


def test_unfollowed_operations_lose_origins_instead_of_guessing() -> None:
    assert not isinstance(field("abc").upper(), Traced)
    assert not isinstance("%s!" % field("abc"), Traced)  # noqa: UP031 - the operation under test
