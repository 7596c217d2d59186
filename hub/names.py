"""Names in the configuration file that lead to no model. They have no effect, and no error either.

Asked by the system checks at the start of a web process, and by doctor.
"""

from collections.abc import Collection, Iterator

from django.conf import settings
from django.db.utils import Error as DatabaseError

from hub.config import HubConfig
from inference import starters
from inference.models import Alias, Model


def astray() -> list[str]:
    """Give a line for each such name, with its entry."""
    policy: HubConfig = settings.HUB_CONFIG
    known = _known()
    reachable = {*known, *policy.model_mapping}
    found = [
        f"`{place}` names `{name}`, which is no model"
        for name, place in _listed(policy).items()
        if name not in reachable
    ]
    return [*found, *_mapped(policy.model_mapping, known)]


def _known() -> set[str]:
    """Before the first start, when there are no tables yet, the starter models count."""
    try:
        found = {*Model.objects.values_list("name", flat=True)}
        return found | {*Alias.objects.values_list("name", flat=True)}
    except (DatabaseError, OSError):
        size = settings.HUB_MODEL_SIZE
        return {starter.name for starter in starters.chosen(size)} | {*starters.aliases(size)}


def _listed(policy: HubConfig) -> dict[str, str]:
    """Map each name outside the mapping to its place."""
    wanted = dict.fromkeys(policy.model_config.priority_models, "model_config.priority_models")
    for place in ("never_together", "always_together"):
        names = [name for group in getattr(policy.model_config, place) for name in group]
        wanted |= dict.fromkeys(names, f"model_config.{place}")
    return wanted


def _mapped(mapping: dict[str, str], known: Collection[str]) -> Iterator[str]:
    for name in mapping:
        chain = [name]
        while (end := chain[-1]) not in known:
            path = " -> ".join(f"`{one}`" for one in chain)
            if end in chain[:-1]:
                yield f"`model_mapping.{name}` goes in a circle: {path}"
                break
            if end not in mapping:
                yield f"`model_mapping.{name}` leads to `{end}`, which is no model: {path}"
                break
            chain.append(mapping[end])
