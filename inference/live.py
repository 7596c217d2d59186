"""What the node says of one row of the catalog. Called by the management API and the dashboard."""

from collections.abc import Mapping

from inference import wire


def status(
    name: str, served_as: str, known: Mapping[str, wire.ModelStatus]
) -> wire.ModelStatus | None:
    """Give the state of its resident; an attached adapter has its base's, with counts of its own."""
    found = known.get(served_as)
    if found is None or name == served_as:
        return found
    own = next((a for a in found.adapters if a.name == name), wire.AdapterStatus(name=name))
    return wire.ModelStatus(
        name=name,
        version=found.version,
        state=found.state,
        kind=found.kind,
        engine=found.engine,
        device=found.device,
        reason=found.reason,
        progress=found.progress,
        context_tokens=found.context_tokens,
        capabilities=found.capabilities,
        load_s=found.load_s,
        idle_s=found.idle_s,
        unload_in_s=found.unload_in_s,
        requests_total=own.requests_total,
        prompt_tokens_total=own.prompt_tokens_total,
        completion_tokens_total=own.completion_tokens_total,
    )
