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
    "sleep": _("Sleep of"),
    "wait": _("Wait for"),
    "refuse": _("Refuse"),
    "fail": _("Failure of"),
    "reserve": _("Memory for"),
    "yield": _("Pause for"),
    "release": _("Memory back from"),
}
HAPPENED = {  # the same, told of one model on its own page
    "load": _("Loaded"),
    "unload": _("Unloaded"),
    "evict": _("Unloaded"),
    "sleep": _("Fell asleep"),
    "wait": _("Waited"),
    "refuse": _("Refused"),
    "fail": _("Failed"),
    "reserve": _("Memory granted"),
    "yield": _("Asked to pause"),
    "release": _("Memory given back"),
}
DECISION_ICONS = {
    "load": "player-play",
    "unload": "player-eject",
    "evict": "player-eject",
    "sleep": "moon",
    "wait": "hourglass",
    "refuse": "ban",
    "fail": "alert-triangle",
    "reserve": "stack-2",
    "yield": "logout-2",
    "release": "arrows-exchange",
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
LIMITS = {
    "requests_per_minute": _("Requests per minute"),
    "tokens_per_hour": _("Tokens per hour"),
    "concurrent_requests": _("Requests at the same time"),
    "storage_bytes": _("Storage"),
    "training_minutes": _("Training, minutes in 30 days"),
}
SCOPES = {
    "teams:*": _("Everything about teams"),
    "teams:write": _("Manage members, roles and service accounts of teams that one manages"),
    "teams:read": _("See own teams and who is in them"),
    "models:read": _("List models and see their state"),
    "status:read": _("Watch devices, queues and running requests"),
    "usage:read": _("See own usage"),
    "inference:chat": _("Use models: chat"),
    "inference:completions": _("Use models: completions"),
    "inference:embeddings": _("Use models: embeddings"),
    "inference:classify": _("Use models: classification"),
    "inference:audio": _("Use models: speech to text"),
    "files:read": _("See files and batches"),
    "files:write": _("Upload and remove files, start batches"),
    "keys:read": _("See own API keys"),
    "keys:write": _("Issue, rotate and revoke own API keys"),
    "datasets:read": _("See data sets"),
    "datasets:write": _("Bring, change and remove data sets"),
    "training:read": _("Follow training jobs and evaluations"),
    "training:write": _("Train models, stop jobs, publish results"),
    "models:load": _("Load and unload models"),
    "models:write": _("Add, change and remove models and their aliases"),
    "usage:all": _("See everybody's usage"),
    "admin:users": _("Manage people, service accounts and the keys of everyone"),
    "admin:roles": _("Make and change roles"),
    "admin:teams": _("Manage teams, and see what belongs to any of them"),
    "admin:audit": _("Read the audit log"),
    "admin:system": _("Change the hub's settings, see its logs and backups"),
    "inference": _("Use models: chat, completions, embeddings, audio"),
    "keys:manage": _("List, issue and revoke own API keys"),
    "training": _("Bring data, train models and follow jobs"),
    "models:manage": _("Add, load, unload and remove models"),
    "users:manage": _("Manage people and the keys of everyone"),
    "system:manage": _("Change the hub's settings, see its logs and backups"),
    "models:*": _("Everything about models"),
    "status:*": _("Watch devices, queues and running requests"),
    "usage:*": _("See everybody's usage"),
    "inference:*": _("Use models: chat, completions, embeddings, audio"),
    "files:*": _("Files and batches"),
    "keys:*": _("List, issue and revoke own API keys"),
    "datasets:*": _("Bring, change and remove data sets"),
    "training:*": _("Train models and follow jobs"),
    "admin:*": _("Everything that administers the hub"),
}

HOW = {  # a browser was signed in
    "password": _("with the password"),
    "totp": _("with password and app"),
    "passkey": _("with a passkey"),
    "recovery": _("with a recovery code"),
    "sso": _("by single sign-on"),
    "provider": _("by single sign-on"),
}


def choice_word(choice: str) -> str:
    """Say yes and no; what an engine calls its own is left as it is."""
    return str({"yes": _("yes"), "no": _("no")}.get(choice, choice))


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


def limit_word(name: str) -> str:
    return str(LIMITS.get(name, name))


def scope_word(scope: str) -> str:
    return str(SCOPES.get(scope, scope))


def how_word(how: str) -> str:
    return str(HOW.get(how, how))
