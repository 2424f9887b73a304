"""Our test sets in other people's harnesses: tasks for lm-evaluation-harness and for Inspect AI."""
