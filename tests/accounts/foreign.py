"""What belongs to a team that others are not in, and are not to hear of."""

import datetime as dt

from django.utils import timezone

from accounts import keys, principals, teams
from accounts.models import Role, User, Visit
from inference.models import Alias, Model, Upload
from training.models import DataSet, DataSetVersion, File, FilePart, FileUpload, Job

SECRET = "secret-model"  # every name of the foreign team holds it


def rows(owner: User) -> dict[str, str]:
    """Make them, of every kind that a path or a body can name; give how it does."""
    red = teams.create(f"{SECRET}-team")
    teams.add(red, owner, None, "manager")
    later = timezone.now() + dt.timedelta(days=1)
    mine = {"team": red, "visibility": "team"}
    model = Model.objects.create(name=SECRET, kind="llm", engine="fake", path="/m", **mine)
    Alias.objects.create(name=f"{SECRET}-alias", target=model, **mine)
    Role.objects.create(name=f"{SECRET}-role", scopes=["models:read"], team=red)
    User.objects.create(username=f"{SECRET}-bot", kind="service", team=red)
    key, _ = keys.issue(owner, f"{SECRET}-key", by=principals.of_user(owner), team=red)
    coming = Model.objects.create(
        name=f"{SECRET}-upload", kind="", engine="", path="", state="uploading", **mine
    )
    upload = Upload.objects.create(id="a" * 32, model=coming, owner_id=owner.pk, files=[])
    data_set = DataSet.objects.create(name=f"{SECRET}-set", owner=owner, **mine)
    version = DataSetVersion.objects.create(data_set=data_set, number=1, address="c" * 64)
    job = Job.objects.create(
        base=SECRET, version=version, training_type="lora", suffix=SECRET, owner=owner, **mine
    )
    file = File.objects.create(
        owner=owner, filename=SECRET, purpose="fine-tune", size_bytes=1, sha256="d" * 64, **mine
    )
    pending = FileUpload.objects.create(
        owner=owner, filename=SECRET, purpose="fine-tune", size_bytes=1, expires_at=later, **mine
    )
    part = FilePart.objects.create(upload=pending, size_bytes=1)
    visit = Visit.objects.create(user=owner, session_key="b" * 32)
    return {
        "model": SECRET,
        "alias": f"{SECRET}-alias",
        "job": job.pk,
        "role": f"{SECRET}-role",
        "account": f"{SECRET}-bot",
        "team": red.name,
        "key": key.public_id,
        "upload": upload.pk,
        "data set": data_set.pk,
        "file": file.pk,
        "file upload": pending.pk,
        "part": part.pk,
        "visit": str(visit.pk),
    }
