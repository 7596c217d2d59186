"""What a job tells, written to MLflow by processes of their own: nothing else here imports mlflow.

The spool is the truth. A tracker that was away, or was killed, goes on where its bookmark says.
"""
