"""Accounts under /api/v1: one module per noun, addresses in `urls`."""
