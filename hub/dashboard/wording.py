"""Words for the codes that the hub's parts use among themselves."""

from django.utils.translation import gettext_lazy as _

KINDS = {
    "llm": _("Chat"),
    "vlm": _("Chat with images"),
    "embed": _("Embeddings"),
    "clip": _("Image and text"),
    "asr": _("Speech to text"),
    "tts": _("Text to speech"),
}
SHARES = {
    "weights": _("weights"),
    "kv": _("KV cache"),
    "other": _("other"),
    "reserved": _("set aside for it"),
    "standby": _("spare processes, ready for the next model"),
    "others": _("held by other programs"),
}
DECISIONS = {
    "load": _("Load"),
    "unload": _("Unload"),
    "evict": _("Unload"),
    "wait": _("Wait for"),
    "refuse": _("Refuse"),
    "fail": _("Failure of"),
}
HAPPENED = {  # the same, told of one model on its own page
    "load": _("Loaded"),
    "unload": _("Unloaded"),
    "evict": _("Unloaded"),
    "wait": _("Waited"),
    "refuse": _("Refused"),
    "fail": _("Failed"),
}
DECISION_ICONS = {
    "load": "player-play",
    "unload": "player-eject",
    "evict": "player-eject",
    "wait": "hourglass",
    "refuse": "ban",
    "fail": "alert-triangle",
}
SOURCES = {
    "starter": _("starter model"),
    "local": _("a folder of this machine"),
    "huggingface": _("model hub"),
    "upload": _("upload"),
    "remote": _("another server"),
    "adapter": _("LoRA adapter"),
    "variant": _("variant of another model"),
    "trained": _("trained here"),
}
HEALTH = {
    "disk": _("Disk"),
    "database": _("Database"),
    "redis": _("Redis"),
    "node": _("Model service"),
    "starter_models": _("Starter models"),
}
SCOPES = {
    "models:read": _("List models and see their state"),
    "status:read": _("Watch devices, queues and running requests"),
    "inference": _("Use models: chat, completions, embeddings, audio"),
    "keys:manage": _("List, issue and revoke own API keys"),
    "training": _("Bring data, train models and follow jobs"),
    "models:load": _("Load and unload models"),
    "models:write": _("Add, change and remove models and their names"),
    "models:manage": _("Add, load, unload and remove models"),
    "users:manage": _("Manage people and the keys of everyone"),
    "system:manage": _("Change the hub's settings, see its logs and backups"),
}


def kind_word(kind: str) -> str:
    return str(KINDS.get(kind, kind))


def source_word(source: str) -> str:
    return str(SOURCES.get(source, source))


def share_word(kind: str) -> str:
    return str(SHARES.get(kind, kind))


def decision_word(action: str) -> str:
    return str(DECISIONS.get(action, action))


def happened_word(action: str) -> str:
    return str(HAPPENED.get(action, action))


def health_word(name: str) -> str:
    return str(HEALTH.get(name, name))


def scope_word(scope: str) -> str:
    return str(SCOPES.get(scope, scope))
