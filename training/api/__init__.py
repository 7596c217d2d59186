"""What training adds to the API: routes under /v1."""
