"""Worker processes and threads, which run a model's batches."""
