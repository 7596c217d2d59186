"""The training process: one for each job, without Django, secrets or network."""
