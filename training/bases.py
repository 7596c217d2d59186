"""Which models can be trained, and where their files lie. Called by data sets, for template and vocabulary."""

from pathlib import Path

from accounts.principals import Principal
from inference import catalog, sight
from inference.errors import InvalidValue
from inference.models import Model

MOST_NAMES = 200


def find(name: str, who: Principal | None = None) -> tuple[str, Path]:
    """Give name and folder of a base model. Raises: ModelNotFound, InvalidValue."""
    found = catalog.resolve_now(name, who)
    folder = Path(found.spec.path)
    if found.spec.kind != "llm" or found.base or not (folder / "config.json").is_file():
        words = f"`{name}` cannot be trained: a base is a language model in safetensors."
        raise InvalidValue(words, param="base")
    return found.model, folder


def names(who: Principal) -> list[str]:
    """Name the models that somebody may train, as far as their rows tell."""
    rows = sight.models(who).filter(kind="llm", base=None, state=Model.State.AVAILABLE)
    trainable = rows.filter(engine="llm_transformers").order_by("name")
    return [*trainable.values_list("name", flat=True)[:MOST_NAMES]]
