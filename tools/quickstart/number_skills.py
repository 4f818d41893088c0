"""Facts about units, sums and differences. Every number has at most five digits, every sum at most two."""

from random import Random

from tools.quickstart.fact import Fact, Skill
from tools.quickstart.words import THINGS, UNITS


def unit(rng: Random) -> Fact:
    """A quantity in a smaller unit."""
    large, small, factor, largest = rng.choice(UNITS)
    number = rng.randint(2, largest)
    result = f"{number * factor} {small}"
    return Fact(
        questions=(
            f"How many {small} are {number} {large}?",
            f"Convert {number} {large} to {small}.",
            f"What are {number} {large} in {small}?",
            f"Please write {number} {large} in {small}.",
        ),
        answer=result,
        sentence=f"{number} {large} are {result}.",
        prose=(
            f"{number} {large} are {result}.",
            f"{number} {large} make {result}.",
            f"In {small}, {number} {large} are {result}.",
        ),
    )


def total(rng: Random) -> Fact:
    """The sum of two numbers, below 100."""
    first = rng.randint(1, 70)
    second = rng.randint(1, 29)
    result, things = first + second, rng.choice(THINGS)
    return Fact(
        questions=(
            f"What is {first} + {second}?",
            f"Add {first} and {second}.",
            f"How much is {first} plus {second}?",
            f"I have {first} {things} and get {second} more. How many {things} do I have now?",
        ),
        answer=str(result),
        sentence=f"{first} plus {second} is {result}.",
        prose=(
            f"{first} plus {second} is {result}.",
            f"{first} + {second} = {result}.",
            f"With {first} {things} and {second} more there are {result}.",
        ),
    )


def difference(rng: Random) -> Fact:
    """The difference of two numbers, never negative."""
    result = rng.randint(1, 70)
    second = rng.randint(1, 29)
    first, things = result + second, rng.choice(THINGS)
    return Fact(
        questions=(
            f"What is {first} - {second}?",
            f"Subtract {second} from {first}.",
            f"How much is {first} minus {second}?",
            f"I have {first} {things} and give away {second}. How many {things} are left?",
        ),
        answer=str(result),
        sentence=f"{first} minus {second} is {result}.",
        prose=(
            f"{first} minus {second} is {result}.",
            f"{first} - {second} = {result}.",
            f"Of {first} {things}, {second} are gone and {result} are left.",
        ),
    )


NUMBER_SKILLS: tuple[Skill, ...] = (unit, total, difference)
