"""TODO study.reporting."""
