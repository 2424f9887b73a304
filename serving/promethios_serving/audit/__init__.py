"""The record of every decision, chained by hashes so that nobody can change one unseen. See README.md."""
