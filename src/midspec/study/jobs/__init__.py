"""The kinds of steps: one module for each kind, or for the few of a family; `_graph.STEP_KINDS` finds them by name."""
