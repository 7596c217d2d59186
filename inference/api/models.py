"""GET /v1/models and /v1/models/{id}."""

from inference import catalog
from inference.api.call import Call, not_visible
from inference.openai import models


async def listing(call: Call) -> None:
    call.request.refuse_query()
    found = await catalog.available()
    seen = [r for r in found if call.principal.allows_model(r.name, r.model)]
    entries = [models.entry(r.name, r.created, r.model) for r in seen]
    await call.reply.json(models.encode_list(entries))


async def retrieve(call: Call) -> None:
    """An id may hold slashes; a model that is being prepared is said to be so."""
    call.request.refuse_query()
    name = call.request.path.removeprefix("/v1/models/")
    resolved = await catalog.resolve(name)
    if not call.principal.allows_model(name, resolved.model):
        raise not_visible(name)
    call.model = resolved.model
    entry = models.entry(name, resolved.created, resolved.model)
    await call.reply.json(models.encode_one(entry))
