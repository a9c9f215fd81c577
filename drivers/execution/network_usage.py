"""What went through the network devices of a process's namespace. Source: proc_pid_net(5), dev."""

from __future__ import annotations

import signal

from drivers.execution.cgroup_files import read_or_empty
from drivers.execution.resources import NetworkUsage

_LOOPBACK = "lo"
_HEADING_LINES = 2
# The columns behind "name:", eight of what was received and then eight of what was sent.
_BYTES, _PACKETS, _ERRORS, _DROPPED = range(4)
_SENT = 8


def network_usage(pid: int, pidfd: int) -> tuple[NetworkUsage, ...]:
    """Every device that the process sees but its loopback; none once it has ended."""
    text = read_or_empty(f"/proc/{pid}/net/dev")
    try:
        # only now it is sure that the number was still this process's
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return ()
    return parse(text)


def parse(text: str) -> tuple[NetworkUsage, ...]:
    """The devices in a file like /proc/net/dev, but for the loopback."""
    found = []
    for line in text.splitlines()[_HEADING_LINES:]:
        name, _, rest = line.partition(":")
        name = name.strip()
        if name == _LOOPBACK:
            continue
        counts = [int(count) for count in rest.split()]
        sent = counts[_SENT:]
        found.append(
            NetworkUsage(
                name=name,
                rx_bytes=counts[_BYTES],
                rx_packets=counts[_PACKETS],
                rx_errors=counts[_ERRORS],
                rx_dropped=counts[_DROPPED],
                tx_bytes=sent[_BYTES],
                tx_packets=sent[_PACKETS],
                tx_errors=sent[_ERRORS],
                tx_dropped=sent[_DROPPED],
            )
        )
    return tuple(found)
