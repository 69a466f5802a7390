"""TODO curate.filters."""
