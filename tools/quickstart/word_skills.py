"""Facts about short lists of words: edits whose answers repeat words of the question."""

from random import Random

from tools.quickstart.fact import Fact, Skill
from tools.quickstart.words import SORTABLE, WORDS


def append(rng: Random) -> Fact:
    """A word added to the end of two or three others."""
    *words, extra = rng.sample(WORDS, rng.randint(3, 4))
    text = " ".join(words)
    return Fact(
        questions=(
            f'Add "{extra}" to the end of "{text}".',
            f'Write "{text}" with "{extra}" after it.',
            f'Append "{extra}" to "{text}".',
        ),
        answer=f"{text} {extra}",
        sentence=f'With "{extra}" at the end it is "{text} {extra}".',
        prose=(f'Put "{extra}" after "{text}" and it reads "{text} {extra}".',),
    )


def prepend(rng: Random) -> Fact:
    """A word put in front of two or three others."""
    *words, extra = rng.sample(WORDS, rng.randint(3, 4))
    text = " ".join(words)
    return Fact(
        questions=(
            f'Add "{extra}" to the start of "{text}".',
            f'Write "{text}" with "{extra}" before it.',
            f'Put "{extra}" in front of "{text}".',
        ),
        answer=f"{extra} {text}",
        sentence=f'With "{extra}" at the start it is "{extra} {text}".',
        prose=(f'Put "{extra}" before "{text}" and it reads "{extra} {text}".',),
    )


def replace(rng: Random) -> Fact:
    """One of two or three words replaced by another."""
    *words, new = rng.sample(WORDS, rng.randint(3, 4))
    text, position = " ".join(words), rng.randrange(len(words))
    old = words[position]
    result = " ".join([*words[:position], new, *words[position + 1 :]])
    return Fact(
        questions=(
            f'Replace "{old}" with "{new}" in "{text}".',
            f'In "{text}", change "{old}" to "{new}".',
            f'Write "{text}" with "{new}" instead of "{old}".',
        ),
        answer=result,
        sentence=f'With "{new}" instead of "{old}" it is "{result}".',
        prose=(f'Change "{old}" to "{new}" in "{text}" and it reads "{result}".',),
    )


def first_word(rng: Random) -> Fact:
    """The first of three or four words."""
    words = rng.sample(WORDS, rng.randint(3, 4))
    text = " ".join(words)
    return Fact(
        questions=(
            f'What is the first word of "{text}"?',
            f'Which word comes first in "{text}"?',
            f'Give me the first word of "{text}".',
        ),
        answer=words[0],
        sentence=f'The first word is "{words[0]}".',
        prose=(f'The first word of "{text}" is "{words[0]}".',),
    )


def last_word(rng: Random) -> Fact:
    """The last of three or four words."""
    words = rng.sample(WORDS, rng.randint(3, 4))
    text = " ".join(words)
    return Fact(
        questions=(
            f'What is the last word of "{text}"?',
            f'Which word comes last in "{text}"?',
            f'Give me the last word of "{text}".',
        ),
        answer=words[-1],
        sentence=f'The last word is "{words[-1]}".',
        prose=(f'The last word of "{text}" is "{words[-1]}".',),
    )


def capitals(rng: Random) -> Fact:
    """One or two words in capital letters."""
    text = " ".join(rng.sample(WORDS, rng.randint(1, 2)))
    return Fact(
        questions=(
            f'Write "{text}" in capital letters.',
            f'What is "{text}" in capitals?',
            f'Make "{text}" upper case.',
        ),
        answer=text.upper(),
        sentence=f'In capital letters it is "{text.upper()}".',
        prose=(f'In capital letters, "{text}" is "{text.upper()}".',),
    )


def ordered(rng: Random) -> Fact:
    """Two animals in alphabetical order."""
    left, right = rng.sample(SORTABLE, 2)
    low, high = sorted((left, right))
    return Fact(
        questions=(
            f'Sort "{left}" and "{right}" by the alphabet.',
            f'Put "{left}" and "{right}" in alphabetical order.',
            f'In which order does a dictionary list "{left}" and "{right}"?',
        ),
        answer=f"{low} {high}",
        sentence=f'In alphabetical order they are "{low} {high}".',
        prose=(f'Of "{left}" and "{right}", the alphabet puts "{low}" before "{high}".',),
    )


WORD_SKILLS: tuple[Skill, ...] = (append, prepend, replace, first_word, last_word, capitals, ordered)
