"""What config/hub.json says is changed by whoever writes files: who reads it tells the audit log.

Called by each web process as it starts, and as an edit takes effect; the first one of them writes the row.
"""

import json
from collections.abc import Mapping
from typing import Any

from django.db import transaction

from accounts import actors, audit
from accounts.models import SeenConfig

Fields = Mapping[str, Any]  # by `section.field`, as JSON has them


def note(found: Fields, usual: Fields) -> bool:
    """Record what differs from what was noted last, or at the first start from what is usual."""
    text = json.dumps(found, sort_keys=True)
    with transaction.atomic(), actors.acting(actors.system()):
        audit.take_turn()
        seen, _ = SeenConfig.objects.get_or_create(pk=1, defaults={"content": json.dumps(usual)})
        before = json.loads(seen.content)
        if before == json.loads(text):
            return False
        SeenConfig.objects.filter(pk=1).update(content=text)
        audit.record("config.change", "config", "hub.json", before=before, after=found)
    return True
