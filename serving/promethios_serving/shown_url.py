"""A configured URL as logs and the status may show it: without what may be secret."""

from __future__ import annotations

from urllib.parse import urlsplit


def shown_url(url: str) -> str:
    """Return a URL without user, password, query and fragment."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
