"""Addresses and names that come from elsewhere, or lead there."""

from pathlib import PurePosixPath
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def safe_url(url: str) -> str:
    """The address. Raises ValueError unless it is https, or http to this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError(f"{url!r} is no https address")
    if parts.username or parts.password:
        raise ValueError("an address with a user's name or password does not belong into the catalog")
    return url


def safe_name(name: str) -> str:
    """A path below a folder. Raises ValueError for an absolute one, `..`, and what other systems read as such."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or any(part in ("..", ".") for part in name.split("/")):
        raise ValueError(f"{name!r} is no path below a folder")
    if "\\" in name or ":" in name or any(ord(letter) < 32 for letter in name):
        raise ValueError(f"{name!r} holds a character that paths here do not have")
    return name
