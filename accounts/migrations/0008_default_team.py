"""Whoever was there before is a member of the default team."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def make(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    team = apps.get_model("accounts", "Team").objects.create(name="default", is_default=True)
    people = apps.get_model("accounts", "User").objects.all()
    people.update(team=team)
    member = apps.get_model("accounts", "Membership")
    member.objects.bulk_create([member(team=team, user=person) for person in people])


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0007_teams_roles'),
    ]

    operations = [
        migrations.RunPython(make, migrations.RunPython.noop),
    ]
