"""`manage.py createsuperuser --username U`: Django's name for `create_admin`."""

from accounts.management.commands import create_admin


class Command(create_admin.Command):
    """Django's own would tell the audit log nothing."""
