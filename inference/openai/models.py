"""Models as OpenAI lists them."""

import msgspec


class ModelEntry(msgspec.Struct):
    """`root` names the model behind an alias, as open-weight servers do."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = "hub"
    root: str = ""


class ModelList(msgspec.Struct):
    data: list[ModelEntry]
    object: str = "list"


def entry(name: str, created: int, model: str) -> ModelEntry:
    return ModelEntry(name, created, root=model)


def encode_one(model: ModelEntry) -> bytes:
    return msgspec.json.encode(model)


def encode_list(models: list[ModelEntry]) -> bytes:
    return msgspec.json.encode(ModelList(models))
