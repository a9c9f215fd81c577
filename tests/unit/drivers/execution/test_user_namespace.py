"""Containers of the native driver in user namespaces."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from drivers.execution.base import IdMap, IdRange
from drivers.execution.id_map import open_user_namespace
from drivers.kernel import mount
from tests.native import Box, open_box

_START = 1_900_000_000
_RANGE = (IdRange(container_id=0, host_id=_START, size=65536),)
IDS = IdMap(uids=_RANGE, gids=_RANGE)


class MappedBox(Box):
    """Runs commands in a user namespace, in a root that is seen through its ids."""

    def command(self, held: contextlib.ExitStack, *argv: str, **options: Any) -> Any:
        options = {"id_map": IDS, **options}
        command = super().command(held, *argv, **options)
        userns_fd = open_user_namespace(options["id_map"])
        held.callback(os.close, userns_fd)
        mount.mount_setattr(command.root_fd, userns_fd=userns_fd)
        return command


@contextlib.asynccontextmanager
async def _open(path: Path) -> AsyncIterator[MappedBox]:
    async with open_box(path) as box:
        yield MappedBox(box.driver, box.keeper, box.root)


async def test_the_command_is_root_of_its_own_ids_only(tmp_path: Path) -> None:
    async with _open(tmp_path) as box:
        ran = await box.shell("id -u; cat /proc/self/uid_map /proc/self/gid_map; echo x >/made")
        assert ran.stdout.split() == ["0", *["0", str(_START), "65536"] * 2]
        made = (box.root / "made").stat()
    assert (made.st_uid, made.st_gid) == (0, 0)
