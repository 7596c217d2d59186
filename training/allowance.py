"""Setting aside what a quota counts, told as the API's error. Called by files, data sets, jobs and exports."""

from accounts import quotas
from accounts.principals import Principal
from inference.errors import RateLimited


def reserve(who: Principal | quotas.Bearer, kind: quotas.Kind, amount: int, holder: str) -> None:
    """Raises: RateLimited, with nothing changed; it is not worth a retry."""
    try:
        quotas.reserve(who, kind, amount, holder)
    except quotas.QuotaReached as reached:
        error = RateLimited(str(reached))
        error.retryable = False
        raise error from reached
