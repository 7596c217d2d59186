"""What training adds to /api/v1."""
