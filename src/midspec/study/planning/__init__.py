"""TODO study.planning."""
