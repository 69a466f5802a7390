"""Gather the data of a study's report from the records and rows of a run's finished steps."""
