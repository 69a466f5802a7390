"""Evaluation tasks: the questions of each, how an answer is read, and what a judge is asked about it.

Every module or folder here that has `EVAL_TASKS` is found by name, as is any entry point `midspec.eval_tasks` of
another package. `preference` compares pairs and has a runner of its own.
"""
