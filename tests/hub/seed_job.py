"""Write down a training that never starts: `python -m tests.hub.seed_job`; its id goes to stdout."""

import sys

import django

django.setup()

from accounts.models import User  # noqa: E402 (models need the set-up)
from training.models import DataSet, DataSetVersion, Job  # noqa: E402


def main() -> None:
    owner = User.objects.get(username="tester")
    data = DataSet.objects.create(name="rows", owner=owner)
    version = DataSetVersion.objects.create(data_set=data, number=1, address="c" * 64)
    job = Job.objects.create(
        base="chat", version=version, training_type="lora", suffix="s", owner=owner
    )
    sys.stdout.write(job.pk)


if __name__ == "__main__":
    main()
