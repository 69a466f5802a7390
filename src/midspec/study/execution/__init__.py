"""TODO study.execution."""
