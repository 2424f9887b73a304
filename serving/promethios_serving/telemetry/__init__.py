"""Where live telemetry comes from, one source a file, and whom it is about. See README.md."""
