"""The supervisor of `manage.py runhub`: one process that keeps all the others running."""
