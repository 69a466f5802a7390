"""TODO study.jobs."""
