"""Experiments: several models answer, each session always by the same one; what came of it, and what can be said."""
