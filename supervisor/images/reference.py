"""Names of images as people write them: [registry/]repository[:tag][@digest].

Source: the distribution project's reference grammar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from drivers.errors import InvalidRequest

DEFAULT_TAG = "latest"
_DEFAULT_DOMAIN = "docker.io"
_OFFICIAL = "library/"

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_DOMAIN = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?)(?::\d+)?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed name; `tag` and `digest` are empty where they were not given."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def familiar(self) -> str:
        """The repository as Docker shows it: without what goes without saying."""
        if self.domain != _DEFAULT_DOMAIN:
            return f"{self.domain}/{self.path}"
        return self.path.removeprefix(_OFFICIAL)

    @property
    def tagged(self) -> str:
        """Repository and tag, `latest` if none was given: the key of an image's name."""
        return f"{self.familiar}:{self.tag or DEFAULT_TAG}"

    def __str__(self) -> str:
        if self.digest:
            return f"{self.familiar}@{self.digest}"
        return self.tagged


def parse(text: str) -> Reference:
    """The parts of a name. Raises InvalidRequest in Docker's words."""
    rest, _, digest = text.partition("@")
    if digest and not _DIGEST.fullmatch(digest):
        raise InvalidRequest(f"invalid reference format: {text!r}")
    tag = ""
    name, colon, after = rest.rpartition(":")
    if colon and "/" not in after:
        rest, tag = name, after
        if not _TAG.fullmatch(tag):
            raise InvalidRequest(f"invalid reference format: {text!r}")
    domain, slash, path = rest.partition("/")
    if not slash or not ("." in domain or ":" in domain or domain == "localhost"):
        domain, path = _DEFAULT_DOMAIN, rest
    if domain == "index.docker.io":
        domain = _DEFAULT_DOMAIN
    if domain == _DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    if path != path.lower():
        raise InvalidRequest(
            f"invalid reference format: repository name ({text}) must be lowercase"
        )
    if not _PATH.fullmatch(path) or not _DOMAIN.fullmatch(domain):
        raise InvalidRequest(f"invalid reference format: {text!r}")
    return Reference(domain, path, tag, digest)
