"""Running a study: the run loop, what is ready when, and the executor of worker processes."""
