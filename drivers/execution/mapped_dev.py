"""/dev of a container in a user namespace: no device can be made in there, so it is made here."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace

from drivers.errors import InvalidRequest, from_os_error
from drivers.execution.base import Command, Device, IdMap, MountAt
from drivers.execution.id_map import root_of, to_host
from drivers.keeper.dev import DEVICE_MODE, DEVICES, OPTIONS
from drivers.kernel import mount as m
from drivers.kernel.user_namespace import in_user_namespace

_KINDS = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def make_mapped_dev(id_map: IdMap, devices: Iterable[Device]) -> int:
    """A detached file system with the devices, owned by the ids of the container; blocking.

    Raises InvalidRequest for a device that is not to be below /dev, DriverError.
    """
    root = root_of(id_map)
    paths = {device: _below_dev(device.path) for device in devices}
    try:
        fd = _new_tmpfs(*root)
    except OSError as error:
        raise from_os_error(error, "make /dev") from error
    try:
        for name, number in () if in_user_namespace() else DEVICES.items():  # else they are lent
            os.mknod(name, DEVICE_MODE, number, dir_fd=fd)
            # the mode again, for it came through our umask
            os.chmod(name, stat.S_IMODE(DEVICE_MODE), dir_fd=fd)
            os.chown(name, *root, dir_fd=fd)
        for device, path in paths.items():
            _make_device(fd, path, device, id_map)
    except OSError as error:
        os.close(fd)
        raise from_os_error(error, "make devices") from error
    except BaseException:  # nobody else closes it
        os.close(fd)
        raise
    return fd


def lend_devices(command: Command, opened: ExitStack, *, standard: bool = True) -> Command:
    """The command with mounts of the host's devices, for a daemon that can make none; blocking.

    Without `standard` those that every container has are somebody else's work. `opened` closes the
    mounts. Raises DriverError.
    """
    places = [(f"/dev/{name}", f"/dev/{name}") for name in DEVICES if standard]
    places += [(device.path, device.source) for device in command.devices]
    lent = []
    for target, source in places:
        try:
            fd = m.open_tree_clone(source)
        except OSError as error:
            raise from_os_error(error, f"lend {source}") from error
        opened.callback(os.close, fd)
        lent.append(MountAt(fd=fd, target=target))
    return replace(command, devices=(), mounts=(*lent, *command.mounts))


def _new_tmpfs(uid: int, gid: int) -> int:
    context = m.fsopen("tmpfs")
    try:
        for key, value in {**OPTIONS, "source": "tmpfs", "uid": str(uid), "gid": str(gid)}.items():
            m.fsconfig_string(context, key, value)
        m.fsconfig_create(context)
        return m.fsmount(context, m.ATTR.NOSUID)
    finally:
        os.close(context)


def _below_dev(path: str) -> str:
    relative = posixpath.relpath(posixpath.normpath(path), "/dev")
    if relative == "." or relative.startswith(".."):
        raise InvalidRequest(
            f"invalid device target {path!r}: in a user namespace it must be below /dev",
            field="Devices",
        )
    return relative


def _make_device(fd: int, path: str, device: Device, id_map: IdMap) -> None:
    root = root_of(id_map)
    *above, _ = path.split("/")
    for count in range(1, len(above) + 1):
        directory = "/".join(above[:count])
        try:
            os.mkdir(directory, 0o755, dir_fd=fd)
        except FileExistsError:
            continue
        os.chmod(directory, 0o755, dir_fd=fd)
        os.chown(directory, *root, dir_fd=fd)
    number = os.makedev(device.major, device.minor)
    os.mknod(path, _KINDS[device.kind] | device.mode, number, dir_fd=fd)
    os.chmod(path, device.mode, dir_fd=fd)
    uid, gid = to_host(id_map.uids, device.uid), to_host(id_map.gids, device.gid)
    os.chown(path, root[0] if uid is None else uid, root[1] if gid is None else gid, dir_fd=fd)
