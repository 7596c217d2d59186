"""The door to MLflow: what of it is let through, and how it is asked. `views.mlflow` is its view."""
