"""What the keeper is told of a program of the host's that it runs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a command is called with."""

    argv: list[str]
    env: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlan:
    """A program of the host, such as a container runtime: a session of its own, fds 0 to 2.

    The descriptors come in this order: stdin, stdout, stderr, and a detached mount for each of
    `mount_targets`, paths where they are attached.
    """

    cwd: str = "/"
    private_mounts: bool = False  # in a copy of the mount namespace, which ends with it
    mount_targets: list[str] = field(default_factory=list)
