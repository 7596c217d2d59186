"""The hub's own API for models: `/api/v1/models`, `/api/v1/status`."""
