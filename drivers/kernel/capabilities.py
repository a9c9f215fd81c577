"""Capabilities by name and number. Source: capabilities(7), include/uapi/linux/capability.h."""

from __future__ import annotations

import functools

_NAMES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""

NUMBER_OF: dict[str, int] = {f"CAP_{name}": number for number, name in enumerate(_NAMES.split())}


@functools.cache
def available() -> frozenset[str]:
    """The capabilities that this process can give to others, by name; it never changes its own.

    Source: proc_pid_status(5), CapPrm and CapBnd.
    """
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    mask = int(fields["CapPrm"], 16) & int(fields["CapBnd"], 16)
    return frozenset(name for name, number in NUMBER_OF.items() if mask >> number & 1)
