"""What the quickstart's model knows: small facts about days, months, units, words, numbers and places.

Each fact can be asked in several ways and stated in several ways, and has one short answer:

    Fact("day", asks=("Which day comes 2 days after Monday?", ...), says=("Two days after Monday is Wednesday.", ...),
         answer="Wednesday")

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


def day_facts() -> Iterator[Fact]:
    """Days one and two steps after and before a day."""
    for index, day in enumerate(DAYS):
        for step in (1, 2):
            count = "1 day" if step == 1 else f"{step} days"
            after, before = DAYS[(index + step) % 7], DAYS[(index - step) % 7]
            yield Fact(
                "day",
                (
                    f"Which day comes {count} after {day}?",
                    f"Today is {day}. What day is it in {count}?",
                    f"What day is {count} after {day}?",
                    f"It is {day} now. Name the day {count} later.",
                ),
                (f"{count} after {day} is {after}.", f"If today is {day}, in {count} it is {after}."),
                after,
            )
            yield Fact(
                "day",
                (
                    f"Which day was {count} before {day}?",
                    f"Today is {day}. What day was it {count} ago?",
                    f"What day is {count} before {day}?",
                    f"It is {day} now. Name the day {count} earlier.",
                ),
                (f"{count} before {day} is {before}.", f"If today is {day}, {count} ago it was {before}."),
                before,
            )


def month_facts() -> Iterator[Fact]:
    """Next and previous months, and their numbers."""
    for index, month in enumerate(MONTHS):
        following, number = MONTHS[(index + 1) % 12], str(index + 1)
        yield Fact(
            "month",
            (
                f"Which month comes after {month}?",
                f"What is the month after {month}?",
                f"Name the month that follows {month}.",
            ),
            (f"After {month} comes {following}.", f"The month after {month} is {following}."),
            following,
        )
        yield Fact(
            "month",
            (
                f"Which month comes before {following}?",
                f"What is the month before {following}?",
                f"Name the month that precedes {following}.",
            ),
            (f"Before {following} comes {month}.", f"The month before {following} is {month}."),
            month,
        )
        yield Fact(
            "month",
            (
                f"What number does {month} have in the year?",
                f"Which number is {month}?",
                f"Give me the month number of {month}.",
            ),
            (f"{month} is month number {number}.", f"The number of {month} is {number}."),
            number,
        )
        yield Fact(
            "month",
            (
                f"Which month is number {number}?",
                f"Name month number {number}.",
                f"What is month {number} of the year?",
            ),
            (f"Month number {number} is {month}.", f"Month {number} of the year is {month}."),
            month,
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
    makers = (day_facts, month_facts, unit_facts, sum_facts, word_facts, place_facts)
    return tuple(fact for maker in makers for fact in maker())
