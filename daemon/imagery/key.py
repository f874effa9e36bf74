"""The key of a service: out of the environment into requests, and nowhere else."""

from __future__ import annotations

import os
from urllib.parse import quote

from daemon.config import Imagery
from daemon.errors import ConfigError

PLACEHOLDER = "{apikey}"


class Key:
    """A secret, or none. What is kept, logged and told has `{apikey}` in its place.

    Attributes:
        variable: the environment variable that holds it, "" where none is named.
    """

    def __init__(self, value: str = "", variable: str = ""):
        self._value = value
        self.variable = variable

    @classmethod
    def of(cls, settings: Imagery) -> Key:
        """The key of a source.

        Raises:
            ConfigError: the variable is not set, or the url wants a key and none is named.
        """
        if not settings.key_env:
            if PLACEHOLDER in settings.url or PLACEHOLDER in settings.date_url:
                raise ConfigError("key_env", ["empty, but the url has {apikey}; name the environment variable there"])
            return cls()
        value = os.environ.get(settings.key_env, "").strip()
        if not value:
            raise ConfigError("key_env", [f"environment variable {settings.key_env} is not set"])
        return cls(value, settings.key_env)

    @property
    def value(self) -> str:
        return self._value

    def fill(self, url: str) -> str:
        """The URL as it is asked for."""
        return url.replace(PLACEHOLDER, quote(self._value, safe="")) if self._value else url

    def hide(self, text: str) -> str:
        """A message without the key, however a server or a library quoted it."""
        for form in {self._value, quote(self._value, safe=""), quote(self._value)} - {""}:
            text = text.replace(form, PLACEHOLDER)
        return text

    def hint(self, status: int | None) -> str:
        """What to do about an answer that refuses, "" where that is not what it does."""
        if status not in (401, 402, 403):
            return ""
        if self.variable:
            return f"; the key in environment variable {self.variable} is wrong, has expired or does not allow this"
        return "; are the key and the permission right? A key goes into {apikey} and key_env"

    def __repr__(self) -> str:
        return f"Key({self.variable!r})"
