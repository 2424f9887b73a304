"""The reviewers' console: server-rendered pages, usable without a script and with the keyboard alone."""
