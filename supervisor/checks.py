"""What would be wrong with a container at every start, told when it is made: values only."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from drivers.errors import InvalidRequest, NotImplementedYet
from supervisor.spec import ContainerSpec

HOSTNAME_BYTES = 64  # Source: sethostname(2), HOST_NAME_MAX
OOM_SCORES = range(-1000, 1001)  # Source: proc_pid_oom_score_adj(5)
_BREAKS_A_LINE = re.compile(r"[\s\x00-\x1f\x7f]")
_HOST_GATEWAY = "host-gateway"


def check_values(spec: ContainerSpec) -> None:
    """Raise InvalidRequest, where Docker has them in its words, for what no host could do."""
    texts = (*spec.argv, *spec.env, spec.workdir, spec.hostname, spec.domainname, spec.user)
    for text in texts:
        if "\0" in text:
            raise InvalidRequest(f"a NUL character in {text!r}")
    for item in spec.env:
        if item.startswith("="):
            raise InvalidRequest(f"invalid environment variable: {item}", field="Env")
    _check_names(spec)
    _check_numbers(spec)


def _check_names(spec: ContainerSpec) -> None:
    """These become lines of files that the container's resolver reads."""
    for what, name in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        if _BREAKS_A_LINE.search(name) or len(name.encode()) > HOSTNAME_BYTES:
            raise InvalidRequest(
                f"invalid {what} {name!r}: at most {HOSTNAME_BYTES} characters, no blanks",
                field=what.capitalize(),
            )
    for entry in spec.extra_hosts:
        host, _, address = entry.partition(":")
        if not host or not address or _BREAKS_A_LINE.search(entry):
            raise InvalidRequest(f"bad format for add-host: {entry!r}", field="ExtraHosts")
        if address == _HOST_GATEWAY:
            raise NotImplementedYet("--add-host with host-gateway is not implemented yet")
        _check_addresses("add-host", [address])
    _check_addresses("dns", spec.dns)


def _check_addresses(what: str, addresses: Iterable[str]) -> None:
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise InvalidRequest(f"invalid IP address in {what}: {address!r}") from error


def _check_numbers(spec: ContainerSpec) -> None:
    score = spec.oom_score_adj
    if score is not None and score not in OOM_SCORES:
        raise InvalidRequest(
            f"Invalid value {score}, range for oom score adj is [-1000, 1000]", field="OomScoreAdj"
        )
    if spec.shm_size_bytes < 0:
        raise InvalidRequest("SHM size can not be less than 0", field="ShmSize")
