"""The engine: schedules requests over a paged cache and runs a model's steps. Knows nothing of text or HTTP."""
