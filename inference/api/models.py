"""GET /v1/models and /v1/models/{id}."""

from inference import catalog
from inference.api.call import Call
from inference.openai import models


async def listing(call: Call) -> None:
    call.request.refuse_query()
    found = await catalog.available(call.principal)
    entries = [models.entry(r.name, r.created, r.model) for r in found]
    await call.reply.json(models.encode_list(entries))


async def retrieve(call: Call) -> None:
    """An id may hold slashes; a model that is being prepared is said to be so."""
    call.request.refuse_query()
    name = call.args["model"]
    resolved = await catalog.resolve(name, call.principal)
    call.model = resolved.model
    entry = models.entry(name, resolved.created, resolved.model)
    await call.reply.json(models.encode_one(entry))
