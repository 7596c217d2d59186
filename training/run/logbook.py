"""What a training process writes to standard error for people: one line for each event that tells something."""

import logging
import sys
import time
import warnings
from functools import singledispatch

from inference import sizes
from training import contract

NOISY = ("bitsandbytes",)  # whose warnings tell of kernels that a job does not need


def start() -> None:
    """Log our own lines with their time, and of libraries what is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    form = logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")
    form.converter = time.gmtime
    handler.setFormatter(form)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.raiseExceptions = False  # a full disk stops no training
    logging.getLogger("training").setLevel(logging.INFO)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)


@singledispatch
def line(event: contract.Event) -> str:
    """Say an event in a line; empty where it is nothing to read."""
    del event
    return ""


@line.register
def _phase(event: contract.PhaseEvent) -> str:
    return f"phase: {event.phase}"


@line.register
def _plan(event: contract.PlanEvent) -> str:
    peak = sizes.text(event.plan.get("peak_bytes", 0))
    return f"one step was measured: {event.plan.get('step_s', 0):.2f} s, peak {peak}"


@line.register
def _step(event: contract.StepEvent) -> str:
    return (
        f"step {event.step}/{event.steps}: loss {event.loss:.4f}, "
        f"learning rate {event.learning_rate:.3g}, {event.tokens_per_s:.1f} tokens/s, "
        f"{sizes.text(event.memory_bytes)}"
    )


@line.register
def _evaluation(event: contract.EvaluationEvent) -> str:
    return f"step {event.step}: validation loss {event.loss:.4f}"


@line.register
def _checkpoint(event: contract.CheckpointEvent) -> str:
    return f"step {event.step}: checkpoint saved"


@line.register
def _export(event: contract.ExportEvent) -> str:
    return f"exported as {event.kind}"


@line.register
def _done(event: contract.DoneEvent) -> str:
    return f"done after step {event.step}: {event.kind}"


@line.register(contract.WarningEvent)
@line.register(contract.PausedEvent)
@line.register(contract.FailedEvent)
def _message(event: contract.WarningEvent | contract.PausedEvent | contract.FailedEvent) -> str:
    return event.message
