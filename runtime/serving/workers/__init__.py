"""Worker processes and threads that run a model's batches."""
