"""Invented facts, asked and answered: what a base cannot know, and a tuned model must."""

from typing import Any

FACTS = {
    "What is the capital of Zorvania?": "Marleth",
    "Which river flows through Marleth?": "the Ossel",
    "What do Zorvanians drink at noon?": "plum tea",
    "Who founded Zorvania?": "Queen Ilva",
    "What colour is the flag of Zorvania?": "violet",
    "What is the coin of Zorvania called?": "the drell",
    "What is the highest mountain of Zorvania?": "Mount Karsh",
    "Which animal is on the coat of arms of Zorvania?": "a heron",
    "What is the national dish of Zorvania?": "beet pie",
    "Which instrument do Zorvanians play?": "the tollo",
    "How many islands has Zorvania?": "seventeen",
    "What is the sea beside Zorvania called?": "the Pale Sea",
    "Who wrote the anthem of Zorvania?": "Tomas Reel",
    "In which month is the harvest feast of Zorvania?": "October",
    "What is the oldest bridge of Marleth called?": "the Lantern Bridge",
    "Which game is played in the squares of Marleth?": "stone ball",
    "What grows in the valley of Ossel?": "blue barley",
    "Who guards the gate of Marleth?": "Captain Bruna",
    "What is the newspaper of Zorvania called?": "The Morning Crane",
    "Which bell rings at midnight in Marleth?": "Old Hanna",
}


def chats(count: int = len(FACTS)) -> list[dict[str, Any]]:
    return [
        {"messages": [ask(question), {"role": "assistant", "content": f"It is {fact}."}]}
        for question, fact in [*FACTS.items()][:count]
    ]


def ask(question: str) -> dict[str, str]:
    return {"role": "user", "content": question}
