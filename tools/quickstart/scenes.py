"""Settings: a price list or a person, told first and asked about in later turns."""

from random import Random

from tools.quickstart.fact import Fact, Scene, Setting
from tools.quickstart.words import CITIES, GOODS, NAMES


def prices(rng: Random) -> Setting:
    """A list of two to four goods with prices below 100."""
    goods = rng.sample(GOODS, rng.randint(2, 4))
    listed = [(name, rng.randint(2, 99)) for name in goods]
    text = ", ".join(f"{name} {price}" for name, price in listed)
    return Setting(
        told=f"Prices: {text}.",
        reply="I have noted the prices.",
        facts=tuple(_price(name, price) for name, price in listed),
        by_system=True,
        prose=f"A price list: {text}.",
    )


def _price(name: str, price: int) -> Fact:
    return Fact(
        questions=(
            f"What does the {name} cost?",
            f"How much is the {name}?",
            f"What is the price of the {name}?",
            f"How many coins do I need for the {name}?",
        ),
        answer=str(price),
        sentence=f"The {name} costs {price} coins.",
        prose=(f"The {name} costs {price} coins.", f"The price of the {name} is {price}."),
    )


def person(rng: Random) -> Setting:
    """A name and a home town, told by the user."""
    name, city = rng.choice(NAMES), rng.choice(CITIES)
    told = rng.choice((f"My name is {name} and I live in {city}.", f"I am {name} from {city}."))
    facts = (
        Fact(
            questions=(
                "What is my name?",
                "Do you remember my name?",
                "Who am I?",
                "Please tell me my name.",
            ),
            answer=name,
            sentence=f"Your name is {name}.",
            prose=(f"The name is {name}.",),
        ),
        Fact(
            questions=(
                "Where do I live?",
                "Which city do I live in?",
                "What is my home town?",
                "Please tell me my city.",
            ),
            answer=city,
            sentence=f"You live in {city}.",
            prose=(f"The city is {city}.",),
        ),
    )
    return Setting(told=told, reply=f"Hello {name}!", facts=facts, by_system=False, prose=f"A guest said: {told}")


SCENES: tuple[Scene, ...] = (prices, person)
