"""One tree of errors for the whole hub, and the one table that maps it to HTTP and OpenAI types.

Raise where it is known; only the API's outermost handler turns it into an answer.
"""

from typing import ClassVar


class HubError(Exception):
    """`code` is stable and documented; `message` says what is wrong, where, and what to do."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    retryable: bool = False
    may_repeat: bool = False  # only a process ended: asked once more, the answer may come
    prompt_tokens: int = 0  # of the request, where an engine had counted them

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.details: dict[str, object] | None = None  # the same in fields, for programs

    @property
    def sentence(self) -> str:
        """Give the message as clients read it: every API answers in sentences."""
        return as_sentence(self.message)


class InvalidRequest(HubError):
    code, status, type = "invalid_request", 400, "invalid_request_error"


class InvalidJSON(InvalidRequest):
    code = "invalid_json"


class InvalidValue(InvalidRequest):
    code = "invalid_value"


class MissingParameter(InvalidRequest):
    code = "missing_required_parameter"


class UnknownParameter(InvalidRequest):
    code = "unknown_parameter"


class UnsupportedParameter(InvalidRequest):
    code = "unsupported_parameter"


class UnsupportedModel(InvalidRequest):
    """The model is there but does not do this (chat with an embedding model)."""

    code = "unsupported_model"


class ContextLengthExceeded(InvalidRequest):
    code = "context_length_exceeded"


class InvalidMedia(InvalidRequest):
    code = "invalid_media"


class UnsafeModel(InvalidRequest):
    """Files that are no model, or one that could harm: nothing of them is loaded."""

    code = "unsafe_model"


class NotAuthenticated(HubError):
    code, status, type = "invalid_api_key", 401, "invalid_request_error"


class SecondFactorNeeded(NotAuthenticated):
    """The password was right; a code is asked for too."""

    code = "second_factor_needed"


class PermissionDenied(HubError):
    code, status, type = "permission_denied", 403, "invalid_request_error"


class NotFound(HubError):
    code, status, type = "not_found", 404, "invalid_request_error"


class ModelNotFound(NotFound):
    code = "model_not_found"


class MethodNotAllowed(HubError):
    code, status, type = "method_not_allowed", 405, "invalid_request_error"


class RequestTimeout(HubError):
    """The body came too slowly."""

    code, status, type, retryable = "request_timeout", 408, "invalid_request_error", True


class Conflict(HubError):
    code, status, type = "conflict", 409, "invalid_request_error"


class RequestTooLarge(HubError):
    code, status, type = "request_too_large", 413, "invalid_request_error"


class UnsupportedMediaType(HubError):
    code, status, type = "unsupported_media_type", 415, "invalid_request_error"


class RateLimited(HubError):
    code, status, type, retryable = "rate_limit_exceeded", 429, "rate_limit_error", True


class QueueFull(HubError):
    """Too many wait for this model: shed, with Retry-After."""

    code, status, type, retryable = "queue_full", 429, "rate_limit_error", True


class TokenBudgetExceeded(HubError):
    """The request alone is over the tokens that its caller may use in an hour."""

    code, status, type = "token_budget_exceeded", 429, "rate_limit_error"


class EngineFailed(HubError):
    """The engine failed in the middle of this request; others are not touched."""

    code, status, type, retryable = "engine_failed", 500, "engine_error", True


class EngineOutOfMemory(EngineFailed):
    """The engine took more memory than there is, or than it was given; others are not touched."""

    code, status = "out_of_memory", 503


class AnswerInterrupted(EngineFailed):
    """The engine or the node ended, or was ended, in the middle of this answer."""

    code, status = "answer_interrupted", 503


class UpstreamLoop(HubError):
    """The servers behind models lead to one another in a circle."""

    code, status, type = "upstream_loop", 508, "server_error"


class ModelCrashing(HubError):
    """The model's engine ended too often: it is refused for a while."""

    code, status, type, retryable = "model_crashing", 503, "engine_error", True


class LoadFailed(HubError):
    """The model cannot be loaded; the message says why."""

    code, status, type, retryable = "model_load_failed", 503, "engine_error", True


class OutOfMemory(HubError):
    """It does not fit, even after everything that may be unloaded is unloaded."""

    code, status, type, retryable = "insufficient_memory", 503, "engine_error", True


class DeadlineExceeded(HubError):
    """The wait for a model passed (or would pass) the request's deadline."""

    code, status, type, retryable = "model_loading_timeout", 503, "server_error", True


class DiskFull(HubError):
    """The disk of the models has no room for what was asked."""

    code, status, type = "insufficient_storage", 507, "server_error"


class NodeUnavailable(HubError):
    code, status, type, retryable = "node_unavailable", 503, "server_error", True


class Unavailable(HubError):
    """A service the hub needs (database, Redis) is away."""

    code, status, type, retryable = "service_unavailable", 503, "server_error", True


# What libraries say, in C++ and in Python, when they are refused memory.
NO_MEMORY = ("bad_alloc", "cannot allocate memory", "can't allocate memory", "failed to allocate")


def as_sentence(text: str) -> str:
    """Begin with a capital, unless it begins with a name such as gpt-4o, and end with a full stop."""
    text = text.strip()
    first, last = text.partition(" ")[0], text.rpartition(" ")[2]
    if first.isalpha() and first.islower():
        text = text[:1].upper() + text[1:]
    ends = text[-1:] in {"", *".!?:…"} or "/" in last  # a path or an address stays as it is
    return text if ends else f"{text}."


def _tree(root: type[HubError]) -> list[type[HubError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


ERRORS: dict[str, type[HubError]] = {error.code: error for error in _tree(HubError)}


def from_code(
    code: str,
    message: str,
    *,
    param: str | None = None,
    retry_after_s: float | None = None,
    details: dict[str, object] | None = None,
) -> HubError:
    """Build again, on this side of a socket, the error that the other side named."""
    error = ERRORS.get(code, HubError)(message, param=param, retry_after_s=retry_after_s)
    error.details = details
    return error
