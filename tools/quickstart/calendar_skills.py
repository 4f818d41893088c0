"""Facts about weekdays and months."""

from random import Random

from tools.quickstart.fact import Fact, Skill, count
from tools.quickstart.words import DAYS, MONTHS


def day_after(rng: Random) -> Fact:
    """Which weekday comes 1 to 20 days after another."""
    start, steps = rng.randrange(7), rng.randint(1, 20)
    day, result, days = DAYS[start], DAYS[(start + steps) % 7], count(steps, "days")
    return Fact(
        questions=(
            f"Which day is {days} after {day}?",
            f"What day comes {days} after {day}?",
            f"Today is {day}. What day is it in {days}?",
            f"If it is {day} now, which day is it {days} later?",
        ),
        answer=result,
        sentence=f"{days} after {day} it is {result}.",
        prose=(
            f"{days} after {day} it is {result}.",
            f"Today is {day}, so in {days} it is {result}.",
            f"It was {day}, and {days} later it was {result}.",
        ),
    )


def day_before(rng: Random) -> Fact:
    """Which weekday came 1 to 10 days before another."""
    start, steps = rng.randrange(7), rng.randint(1, 10)
    day, result, days = DAYS[start], DAYS[(start - steps) % 7], count(steps, "days")
    return Fact(
        questions=(
            f"Which day was {days} before {day}?",
            f"What day came {days} before {day}?",
            f"Today is {day}. Which day was it {days} ago?",
        ),
        answer=result,
        sentence=f"{days} before {day} it was {result}.",
        prose=(f"{days} before {day} it was {result}.", f"Today is {day}, so {days} ago it was {result}."),
    )


def month_after(rng: Random) -> Fact:
    """Which month comes 1 to 11 months after another."""
    start, steps = rng.randrange(12), rng.randint(1, 11)
    month, result, months = MONTHS[start], MONTHS[(start + steps) % 12], count(steps, "months")
    return Fact(
        questions=(
            f"Which month is {months} after {month}?",
            f"It is {month}. Which month is it in {months}?",
            f"What month comes {months} after {month}?",
        ),
        answer=result,
        sentence=f"{months} after {month} it is {result}.",
        prose=(f"{months} after {month} it is {result}.", f"It is {month}, so in {months} it is {result}."),
    )


def month_number(rng: Random) -> Fact:
    """The number of a month in the year."""
    index = rng.randrange(12)
    month = MONTHS[index]
    return Fact(
        questions=(
            f"Which number does {month} have in the year?",
            f"What is the number of the month {month}?",
            f"Give me the month number of {month}.",
            f"Please tell me the number of {month}.",
            f"Counting from January, which number is {month}?",
        ),
        answer=str(index + 1),
        sentence=f"{month} is month number {index + 1}.",
        prose=(f"{month} is month number {index + 1}.", f"The month {month} has the number {index + 1}."),
    )


def month_name(rng: Random) -> Fact:
    """The month that has a number."""
    index = rng.randrange(12)
    return Fact(
        questions=(
            f"Which month has the number {index + 1}?",
            f"What is month number {index + 1} called?",
            f"Give me the name of month {index + 1}.",
            f"Please name month number {index + 1}.",
            f"Counting from January, which month is number {index + 1}?",
        ),
        answer=MONTHS[index],
        sentence=f"Month number {index + 1} is {MONTHS[index]}.",
        prose=(
            f"Month number {index + 1} is {MONTHS[index]}.",
            f"The month with the number {index + 1} is {MONTHS[index]}.",
        ),
    )


CALENDAR_SKILLS: tuple[Skill, ...] = (day_after, day_before, month_after, month_number, month_name)
