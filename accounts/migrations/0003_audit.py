"""The table of the audit log, and the triggers that keep it append-only.

The model is not managed, so that `flush` and later migrations leave its rows alone.
"""

from typing import Any

import django.utils.timezone
from django.db import migrations, models

TABLE = "accounts_auditrow"
REFUSAL = "the audit log is append-only"
START = "0" * 64
UNDER_CHECKPOINT = (
    f"EXISTS (SELECT 1 FROM {TABLE} c WHERE c.action = 'audit.checkpoint'"
    " AND c.through >= OLD.seq AND c.seq > OLD.seq)"
)
FOLLOWS = (
    f"NOT EXISTS (SELECT 1 FROM {TABLE}) OR EXISTS (SELECT 1 FROM {TABLE} l"
    f" WHERE l.seq = (SELECT MAX(m.seq) FROM {TABLE} m)"
    " AND NEW.seq = l.seq + 1 AND NEW.previous = l.hash)"
)
# INSERT OR REPLACE deletes without a trigger, so that inserting is guarded, too.
SQLITE = [
    f"CREATE TRIGGER audit_update BEFORE UPDATE ON {TABLE}"
    f" BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
    f"CREATE TRIGGER audit_delete BEFORE DELETE ON {TABLE} WHEN NOT {UNDER_CHECKPOINT}"
    f" BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
    f"CREATE TRIGGER audit_insert BEFORE INSERT ON {TABLE} WHEN NOT ({FOLLOWS})"
    f" BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
]
POSTGRESQL = [
    f"""CREATE FUNCTION {TABLE}_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'DELETE' AND {UNDER_CHECKPOINT} THEN RETURN OLD; END IF;
    IF TG_OP = 'INSERT' AND ({FOLLOWS}) THEN RETURN NEW; END IF;
    RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'integrity_constraint_violation';
    END $$""",
    f"CREATE TRIGGER audit_row BEFORE INSERT OR UPDATE OR DELETE ON {TABLE}"
    f" FOR EACH ROW EXECUTE FUNCTION {TABLE}_guard()",
    f"CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON {TABLE}"
    f" FOR EACH STATEMENT EXECUTE FUNCTION {TABLE}_guard()",
]


def make(apps: Any, schema_editor: Any) -> None:
    schema_editor.create_model(apps.get_model("accounts", "AuditRow"))
    vendor = schema_editor.connection.vendor
    for statement in POSTGRESQL if vendor == "postgresql" else SQLITE:
        schema_editor.execute(statement, params=None)


def unmake(apps: Any, schema_editor: Any) -> None:
    schema_editor.execute(f"DROP TABLE {TABLE}", params=None)
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"DROP FUNCTION {TABLE}_guard()", params=None)


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0002_setup_link"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditRow",
            fields=[
                ("seq", models.BigIntegerField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ("action", models.CharField(db_index=True, max_length=64)),
                ("outcome", models.CharField(choices=[("done", "Done"), ("refused", "Refused"), ("failed", "Failed")], default="done", max_length=16)),
                ("times", models.IntegerField(default=1)),
                ("actor_kind", models.CharField(max_length=16)),
                ("actor", models.CharField(blank=True, db_index=True, max_length=150)),
                ("actor_id", models.BigIntegerField(null=True)),
                ("key_id", models.CharField(blank=True, max_length=64)),
                ("object_kind", models.CharField(max_length=32)),
                ("object_id", models.CharField(blank=True, max_length=64)),
                ("object_name", models.CharField(blank=True, db_index=True, max_length=200)),
                ("before", models.TextField(blank=True)),
                ("after", models.TextField(blank=True)),
                ("address", models.CharField(blank=True, max_length=64)),
                ("request_id", models.CharField(blank=True, max_length=128)),
                ("through", models.BigIntegerField(null=True)),
                ("previous", models.CharField(max_length=64)),
                ("hash", models.CharField(max_length=64)),
            ],
            options={
                "db_table": TABLE,
                "ordering": ("-seq",),
                "managed": False,
            },
        ),
        migrations.RunPython(make, unmake),
    ]
