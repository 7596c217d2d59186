"""Twenty invented facts, from upload to answer with the stock client, while the base keeps serving."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import openai

from tests import servers
from tests.bench import report
from tests.training import facts, job_hubs

GOAL_S = 2.0
POLL_S = 0.02
ANSWER_TOKENS = 12
COMMON = facts.ask("What is two and two?")


class Asking(threading.Thread):
    """Asks the base all the while; `failures` stay empty if it always answers the same."""

    def __init__(self, client: openai.OpenAI) -> None:
        super().__init__(daemon=True)
        self._client, self._ended = client, threading.Event()
        self.answers: list[str] = []
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                self.answers.append(said(self._client, "base", COMMON))
            except openai.OpenAIError as error:
                self.failures.append(str(error))

    def end(self) -> None:
        self._ended.set()
        self.join()


def said(client: openai.OpenAI, model: str, message: Any) -> str:
    answer = client.chat.completions.create(
        model=model, messages=[message], max_tokens=ANSWER_TOKENS, temperature=0, timeout=300
    )
    return answer.choices[0].message.content or ""


def trained(client: openai.OpenAI) -> tuple[Any, float]:
    """Give the job that succeeded, and the seconds that it took."""
    began_s = time.perf_counter()
    job: Any = job_hubs.submit(
        client, training_file=job_hubs.upload(client, facts.chats()), suffix="facts"
    )
    while job.status not in job_hubs.OVER:
        time.sleep(POLL_S)
        job = client.fine_tuning.jobs.retrieve(job.id)
    if job.status != "succeeded":
        raise RuntimeError(f"{job.status}: {job.error}")
    return job, time.perf_counter() - began_s


def first_answer_s(client: openai.OpenAI, model: str) -> float:
    """Give the seconds to the first token of the first answer."""
    began_s = time.perf_counter()
    question: Any = facts.ask(next(iter(facts.FACTS)))
    stream: Any = client.chat.completions.create(
        model=model, messages=[question], max_tokens=ANSWER_TOKENS, temperature=0, stream=True
    )
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            return time.perf_counter() - began_s
    raise RuntimeError(f"{model} said nothing")


def right(client: openai.OpenAI, model: str) -> int:
    """Count the facts that a model knows."""
    asked = facts.FACTS.items()
    return sum(fact in said(client, model, facts.ask(question)) for question, fact in asked)


def measure(hub: servers.Hub) -> list[report.Row]:
    client = job_hubs.client_of(hub)
    before = right(client, "base")
    asking = Asking(client)
    asking.start()
    job, took_s = trained(client)
    first_s = first_answer_s(client, job.fine_tuned_model)
    asking.end()
    steps = job_hubs.told_steps(client, job.id)
    if steps != [*range(1, len(steps) + 1)]:
        raise RuntimeError(f"the steps of {job.id} are {steps}")
    known, count = right(client, job.fine_tuned_model), len(facts.FACTS)
    served = "yes" if not asking.failures and len(set(asking.answers)) == 1 else "no"
    return [
        report.Row(
            "facts that the tuned model knows, beside its base",
            f"{known} of {count}",
            f"{before} of {count}",
            "",
            f"{count} of {count}",
            "yes" if known == count else "no",
        ),
        report.Row(
            "answers of the base during the training, all the same",
            str(len(asking.answers)),
            f"{len(asking.failures)} failed",
            "",
            "none fails",
            served,
        ),
        report.Row(
            "from success to the first token, s",
            f"{first_s:.2f}",
            "",
            "",
            f"< {GOAL_S:.0f}",
            "yes" if first_s < GOAL_S else "no",
        ),
        report.Row(f"from upload to success, s ({len(steps)} steps)", f"{took_s:.0f}", "", "", ""),
    ]


def main(data: Path) -> None:
    del data
    base = Path(os.environ["AI_HUB_MODELS"]).resolve() / "smollm2-135m"
    with job_hubs.training_hub(base) as hub:
        rows = measure(hub)
    notes = [
        "SmolLM2-135M, LoRA, 20 rows, every value of the recipe resolved by the hub, by the unmodified `openai` client. "
        "The base was asked the whole time, without a pause, on the same cores."
    ]
    report.save("2e-facts", "Twenty facts", rows, notes)
