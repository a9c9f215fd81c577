"""Programs that the kernel runs at access to devices. Source: bpf(2), include/uapi/linux/bpf.h."""

from __future__ import annotations

import ctypes
import platform

from drivers.kernel.libc import syscall

# Source: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
_BPF = {"x86_64": 321}.get(platform.machine(), 280)
_PROG_LOAD = 5
_PROG_ATTACH = 8
_PROG_TYPE_CGROUP_DEVICE = 15
_CGROUP_DEVICE = 6  # enum bpf_attach_type
_F_ALLOW_MULTI = 2  # besides those of the groups above and below
_INSTRUCTION_BYTES = 8
_LICENSE = b"Apache-2.0"  # only matters to programs that call the kernel's own functions


class _Load(ctypes.Structure):
    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
    )


class _Attach(ctypes.Structure):
    _fields_ = (
        ("target_fd", ctypes.c_uint32),
        ("attach_bpf_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
    )


def load_device_program(instructions: bytes) -> int:
    """Check a program and keep it; its descriptor. Needs CAP_BPF and CAP_NET_ADMIN.

    Raises OSError: EINVAL or EACCES for a program that the verifier refuses, EPERM in a user
    namespace. Source: bpf(2), BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE, Linux 4.15.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    license_ = ctypes.create_string_buffer(_LICENSE)
    arguments = _Load()
    arguments.prog_type = _PROG_TYPE_CGROUP_DEVICE
    arguments.insn_cnt = len(instructions) // _INSTRUCTION_BYTES
    arguments.insns = ctypes.addressof(code)
    arguments.license = ctypes.addressof(license_)
    return syscall(_BPF, _PROG_LOAD, ctypes.byref(arguments), ctypes.sizeof(arguments), path="bpf")


def attach_device_program(cgroup_fd: int, program_fd: int) -> None:
    """Have a program decide for the processes of a v2 group, until the group is removed.

    `cgroup_fd` is an open directory, not O_PATH. Source: bpf(2), BPF_PROG_ATTACH.
    """
    arguments = _Attach(cgroup_fd, program_fd, _CGROUP_DEVICE, _F_ALLOW_MULTI)
    syscall(_BPF, _PROG_ATTACH, ctypes.byref(arguments), ctypes.sizeof(arguments), path="bpf")
