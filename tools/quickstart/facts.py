"""What the quickstart's model knows: small facts about days, months, units, words, numbers and places.

Each fact can be asked in several ways and stated in several ways, and has one short answer:

    Fact("day", asks=("Which day comes after Monday?", ...), says=("After Monday comes Tuesday.",), answer="Tuesday")

Everything is a table that a model of two million weights can hold. The base model reads the statements and some of the
questions as plain text; fine-tuning teaches it to answer in a chat.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
WORDS = [
    "apple",
    "bread",
    "chair",
    "dance",
    "eagle",
    "flame",
    "grape",
    "house",
    "island",
    "jacket",
    "kettle",
    "lemon",
    "mirror",
    "needle",
    "orange",
    "pencil",
    "quilt",
    "river",
    "stone",
    "table",
    "uncle",
    "violin",
    "window",
    "yellow",
    "zebra",
    "bridge",
    "candle",
    "dragon",
    "engine",
    "forest",
    "garden",
    "hammer",
]
PLURALS = (
    "apple apples, baby babies, box boxes, bus buses, child children, city cities, dish dishes, fly flies, foot feet, "
    "fox foxes, goose geese, half halves, hero heroes, key keys, knife knives, lady ladies, leaf leaves, man men, "
    "mouse mice, peach peaches, ship ships, story stories, tooth teeth, toy toys, watch watches, wolf wolves, "
    "woman women, house houses"
)
OPPOSITES = (
    "big small, hot cold, fast slow, high low, old new, open closed, rich poor, wet dry, full empty, early late, "
    "happy sad, hard soft, light dark, long short, loud quiet, near far, right left, strong weak, thick thin, "
    "true false, up down, young old, clean dirty, easy difficult"
)
CAPITALS = (
    "France Paris, Italy Rome, Spain Madrid, Japan Tokyo, Egypt Cairo, Greece Athens, Norway Oslo, Peru Lima, "
    "Kenya Nairobi, Cuba Havana, China Beijing, India Delhi, Poland Warsaw, Austria Vienna, Portugal Lisbon, "
    "Sweden Stockholm, Denmark Copenhagen, Ireland Dublin, Hungary Budapest, Russia Moscow, Turkey Ankara, "
    "Germany Berlin, Canada Ottawa, Chile Santiago, Finland Helsinki, Iraq Baghdad, Iran Tehran, Nepal Kathmandu"
)
UNITS = (
    ("km", "m", 1000), ("m", "cm", 100), ("kg", "g", 1000), ("hours", "minutes", 60), ("weeks", "days", 7),
    ("years", "months", 12), ("minutes", "seconds", 60), ("dozens", "pieces", 12),
)  # fmt: skip
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact.

    Attributes:
        skill: what kind of fact it is.
        asks: questions, each with the same answer.
        says: whole sentences that state it.
        answer: the short answer.
    """

    skill: str
    asks: tuple[str, ...]
    says: tuple[str, ...]
    answer: str


def pairs(text: str) -> Iterator[tuple[str, str]]:
    """`"big small, hot cold"` as (big, small), (hot, cold)."""
    for pair in text.split(", "):
        first, second = pair.split()
        yield first, second


def cycle_facts(skill: str, names: list[str], kind: str, whole: str) -> Iterator[Fact]:
    """The next and the previous of names that go round, and their numbers."""
    for index, name in enumerate(names):
        following, number = names[(index + 1) % len(names)], str(index + 1)
        yield Fact(
            skill,
            (
                f"Which {kind} comes after {name}?",
                f"What is the {kind} after {name}?",
                f"Name the {kind} that follows {name}.",
            ),
            (f"After {name} comes {following}.", f"The {kind} after {name} is {following}."),
            following,
        )
        yield Fact(
            skill,
            (
                f"Which {kind} comes before {following}?",
                f"What is the {kind} before {following}?",
                f"Name the {kind} that precedes {following}.",
            ),
            (f"Before {following} comes {name}.", f"The {kind} before {following} is {name}."),
            name,
        )
        yield Fact(
            skill,
            (
                f"What number does {name} have in the {whole}?",
                f"Which number is {name}?",
                f"Give me the {kind} number of {name}.",
            ),
            (f"{name} is {kind} number {number}.", f"The number of {name} is {number}."),
            number,
        )
        yield Fact(
            skill,
            (
                f"Which {kind} is number {number}?",
                f"Name {kind} number {number}.",
                f"What is {kind} {number} of the {whole}?",
            ),
            (f"{name} is number {number} of the {whole}.", f"The {kind} with number {number} is {name}."),
            name,
        )


def unit_facts() -> Iterator[Fact]:
    """1 to 9 of a larger unit in a smaller one."""
    for large, small, factor in UNITS:
        for count in range(1, 10):
            named = large.removesuffix("s") if count == 1 and len(large) > 2 else large
            answer = f"{count * factor} {small}"
            yield Fact(
                "unit",
                (
                    f"How many {small} are {count} {named}?",
                    f"Convert {count} {named} to {small}.",
                    f"What is {count} {named} in {small}?",
                ),
                (f"{count} {named} are {answer}.", f"{count} {named} in {small}: {answer}."),
                answer,
            )


def sum_facts() -> Iterator[Fact]:
    """Sums and differences of numbers from 0 to 10."""
    for first in range(11):
        for second in range(11):
            total = str(first + second)
            yield Fact(
                "sum",
                (f"What is {first} + {second}?", f"Add {first} and {second}.", f"How much is {first} plus {second}?"),
                (f"{first} + {second} = {total}.", f"{first} plus {second} is {total}."),
                total,
            )
            if second <= first:
                rest = str(first - second)
                yield Fact(
                    "sum",
                    (
                        f"What is {first} - {second}?",
                        f"Take {second} from {first}.",
                        f"How much is {first} minus {second}?",
                    ),
                    (f"{first} - {second} = {rest}.", f"{first} minus {second} is {rest}."),
                    rest,
                )


def word_facts() -> Iterator[Fact]:
    """Edits of known words: capitals, first and last letter, plural, opposite, number names."""
    for word in WORDS:
        yield Fact(
            "edit",
            (f'Write "{word}" in capital letters.', f'Put "{word}" in upper case.', f'What is "{word}" in capitals?'),
            (f'"{word}" in capital letters is "{word.upper()}".', f'In upper case "{word}" is "{word.upper()}".'),
            word.upper(),
        )
        for place, letter in (("first", word[0]), ("last", word[-1])):
            yield Fact(
                "edit",
                (
                    f'What is the {place} letter of "{word}"?',
                    f'Give me the {place} letter of "{word}".',
                    f'Which letter comes {place} in "{word}"?',
                ),
                (f'The {place} letter of "{word}" is {letter}.', f'In "{word}" the letter {letter} comes {place}.'),
                letter,
            )
    for one, many in pairs(PLURALS):
        yield Fact(
            "edit",
            (f'What is the plural of "{one}"?', f"One {one}, two what?", f'Write "{one}" in the plural.'),
            (f'The plural of "{one}" is "{many}".', f"One {one}, two {many}."),
            many,
        )
    for one, other in pairs(OPPOSITES):
        yield Fact(
            "edit",
            (
                f'What is the opposite of "{one}"?',
                f'Give me the opposite of "{one}".',
                f"What is the contrary of {one}?",
            ),
            (f'The opposite of "{one}" is "{other}".', f"The contrary of {one} is {other}."),
            other,
        )
    for value, name in enumerate(NUMBERS):
        yield Fact(
            "edit",
            (f"Write {value} as a word.", f"Spell the number {value}.", f"What is {value} in words?"),
            (f"{value} as a word is {name}.", f"The number {value} is spelled {name}."),
            name,
        )


def place_facts() -> Iterator[Fact]:
    """Capitals of countries, both ways."""
    for country, city in pairs(CAPITALS):
        yield Fact(
            "lookup",
            (
                f"What is the capital of {country}?",
                f"Name the capital of {country}.",
                f"Which city is the capital of {country}?",
            ),
            (f"The capital of {country} is {city}.", f"{city} is the capital of {country}."),
            city,
        )
        yield Fact(
            "lookup",
            (f"In which country is {city}?", f"Which country has {city} as its capital?", f"Where is {city}?"),
            (f"{city} is in {country}.", f"The country of {city} is {country}."),
            country,
        )


def all_facts() -> tuple[Fact, ...]:
    """Every fact, in a fixed order."""
    return (
        *cycle_facts("day", DAYS, "day", "week"),
        *cycle_facts("month", MONTHS, "month", "year"),
        *unit_facts(),
        *sum_facts(),
        *word_facts(),
        *place_facts(),
    )
