"""What the keeper is told of a process that it makes: its plan, its words, its descriptors.

Processes of the same kind have the same plan, which travels as text: the keeper keeps the program
that it has made of it. What differs are the words and the descriptors.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from drivers.kernel.process import CLONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a command is called with, what its host is called, and whose ids it has.

    The maps are those of a new user namespace, as texts of /proc/PID/uid_map; the process may not
    set its own `oom_score_adj` there.
    """

    argv: list[str]
    env: list[str]
    hostname: str = ""
    uid_map: str = ""
    gid_map: str = ""
    oom_score_adj: int | None = None

    def fields(self) -> dict[str, Any]:
        """They by their names, as they travel."""
        return {name: getattr(self, name) for name in self.__slots__}


class PlannedDevice(NamedTuple):
    """A device file to make; `mode` has its kind too."""

    path: str
    mode: int
    major: int
    minor: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPlan:
    """What every process in a container has. Paths are the container's."""

    search: list[str]  # the directories in which the command is looked for; none: it has a path
    cwd: str
    own_streams: list[bool]  # which of the three become the user's: pipes and terminals
    uid: int
    gid: int
    groups: list[int]
    capabilities: list[int]
    no_new_privs: bool
    filter_text: str = ""  # the seccomp filter's instructions in base64
    rlimits: list[tuple[int, int, int]] = field(default_factory=list)  # number, soft, hard; -1: no
    apparmor: str = ""  # the name of a loaded profile
    terminal: bool = False  # the streams are one
    cgroup_version: int
    cgroup_hierarchies: list[str]  # v1 only: controllers mounted together ("cpu,cpuacct")

    @property
    def bounding(self) -> list[int] | None:
        """The bounding set that who makes the process may have already.

        None for one that enters a user namespace, where it is whole again.
        """
        return self.capabilities

    @property
    def filter(self) -> bytes:
        """The seccomp filter: an array of struct sock_filter, or nothing."""
        return base64.b64decode(self.filter_text)

    @property
    def group_count(self) -> int:
        """How many descriptors lead into the control group."""
        return 1 if self.cgroup_version == 2 else len(self.cgroup_hierarchies)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPlan(ProcessPlan):
    """The first process of a container.

    The descriptors come in this order: stdin, stdout, stderr, root; one for each of
    `joined_namespaces`; if `terminal` the file system for /dev/pts; in a user namespace that for
    /dev, with its devices in it; a mount for each of `mount_targets`; for cgroup v1 the group's
    `tasks` in each of `cgroup_hierarchies`, for v2 the control group's directory; and read ends
    that the keeper keeps.
    """

    new_namespaces: int  # CLONE_NEW* flags
    bare_dev: bool  # there are no devices in it
    lent_proc: bool  # /proc is a copy of the keeper's
    lent_sys: bool  # and so is /sys
    tty_gid: int | None  # whom terminals belong to, if the namespace knows such a group
    new_cgroup_namespace: bool
    joined_namespaces: list[int]  # CLONE_NEW* flags, one each
    domainname: str
    mount_targets: list[tuple[str, bool]]  # and whether it is a directory
    read_only: bool
    shm_size_bytes: int
    writable_sys: bool
    masked_paths: list[str]
    readonly_paths: list[str]
    devices: list[PlannedDevice]
    sysctls: list[tuple[str, str]]
    oom_score_adj: int | None
    cgroup_flags: list[str] = field(
        default_factory=list
    )  # of the host's v2, to be left as they are

    @property
    def bounding(self) -> list[int] | None:
        return None if self.has_ids else self.capabilities

    @property
    def makes_ids(self) -> bool:
        """Whether it gets a user namespace of its own, and waits for its maps."""
        return bool(self.new_namespaces & CLONE.NEWUSER)

    @property
    def joins_ids(self) -> bool:
        """Whether it joins the user namespace of another container."""
        return CLONE.NEWUSER in self.joined_namespaces

    @property
    def has_ids(self) -> bool:
        """Whether it is in a user namespace that is not the keeper's."""
        return self.makes_ids or self.joins_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class JoiningPlan(ProcessPlan):
    """One more process in a container.

    The descriptors: stdin, stdout, stderr, a pidfd of the container's first process, and the
    control group as above.
    """

    namespaces: int  # CLONE_NEW* flags of what it has in common, besides the pid namespace
    is_watched: bool  # the container may look into processes that it sees

    @property
    def bounding(self) -> list[int] | None:
        return None if self.namespaces & CLONE.NEWUSER else self.capabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlan:
    """A program of the host, such as a container runtime: a session of its own, fds 0 to 2.

    The descriptors: stdin, stdout, stderr, the mount namespace in which it runs, and a detached
    mount for each of `mount_targets`, paths where they are attached.
    """

    cwd: str = "/"
    private_mounts: bool = False  # in a copy of that namespace, which ends with it
    mount_targets: list[str] = field(default_factory=list)

    @property
    def bounding(self) -> None:
        """It keeps what the keeper has."""
        return None


Plan = ContainerPlan | JoiningPlan | HostPlan

_KINDS: dict[str, type[Plan]] = {
    kind.__name__: kind for kind in (ContainerPlan, JoiningPlan, HostPlan)
}


def to_text(plan: Plan) -> str:
    """The plan as JSON: the same text for the same plan."""
    fields = {name: getattr(plan, name) for base in _bases(plan) for name in base.__slots__}
    return json.dumps({"kind": type(plan).__name__, **fields})


def _bases(plan: Plan) -> list[Any]:
    return [base for base in type(plan).__mro__ if base is not object]


def from_text(text: str) -> Plan:
    """The plan again."""
    fields = json.loads(text)
    kind = _KINDS[fields.pop("kind")]
    if "devices" in fields:
        fields["devices"] = [PlannedDevice(*device) for device in fields["devices"]]
    return kind(**fields)
