"""The images of this host: configurations by digest, names, and their layers in the storage driver.

    images/config/HEX         the configuration whose digest is the image's id
    images/names.json         {"busybox:latest": "sha256:..."}

A layer's key is its chain id: what it and all below it contain, so equal layers are shared.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
import trio

from drivers.errors import Conflict, CorruptData, CrecheError, InUse, NotFound, from_os_error
from drivers.storage.base import StorageDriver
from supervisor import mount_points
from supervisor.hold import release
from supervisor.images import archive as archives
from supervisor.images import config as configs
from supervisor.images.archive import ArchivedImage, HashedReader, digest_of
from supervisor.images.config import ContainerConfig
from supervisor.images.image import Image, chain_ids, new_config
from supervisor.images.reference import Reference, parse

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a removal did, as the Engine API tells it."""

    untagged: str | msgspec.UnsetType = msgspec.field(name="Untagged", default=msgspec.UNSET)
    deleted: str | msgspec.UnsetType = msgspec.field(name="Deleted", default=msgspec.UNSET)


class ImageStore:
    """Images by id or name. Changes are made one at a time."""

    def __init__(self, directory: Path, storage: StorageDriver) -> None:
        self._configs = directory / "config"
        self._names_file = directory / "names.json"
        self._storage = storage
        self._images: dict[str, Image] = {}
        self._names: dict[str, str] = {}
        self._changing = trio.Lock()

    async def load_index(self) -> None:
        """Read what is stored."""
        self._names = await trio.to_thread.run_sync(self._read_names)
        for raw in await trio.to_thread.run_sync(self._read_configs):
            image = await self._describe(raw)
            self._images[image.id] = image

    def images(self) -> list[Image]:
        """Every image, newest first."""
        named = [self._with_names(image) for image in self._images.values()]
        return sorted(named, key=lambda image: image.parsed.created or "", reverse=True)

    def layers(self) -> set[str]:
        """The storage keys of all layers of all images."""
        return {key for image in self._images.values() for key in image.layers}

    def find(self, ref: str) -> Image:
        """The image of an id, the unique beginning of one, or a name.

        Raises NotFound in Docker's words, InvalidRequest for what is no name.
        """
        by_id = _ID.fullmatch(ref)
        if by_id and f"sha256:{by_id[1]}" in self._images:
            return self._with_names(self._images[f"sha256:{by_id[1]}"])
        if not by_id or not ref.startswith("sha256:"):
            named = self._names.get(parse(ref).tagged)
            if named is not None:
                return self._with_names(self._images[named])
        if by_id:
            matches = [i for i in self._images if i.startswith(f"sha256:{by_id[1]}")]
            if len(matches) == 1:
                return self._with_names(self._images[matches[0]])
        raise NotFound(f"No such image: {ref if ref.startswith('sha256:') else parse(ref)}")

    def _with_names(self, image: Image) -> Image:
        names = tuple(sorted(n for n, image_id in self._names.items() if image_id == image.id))
        return msgspec.structs.replace(image, names=names)

    async def tag(self, ref: str, name: str) -> Image:
        """Give an image another name, which it takes from whichever has it."""
        async with self._changing:
            image = self.find(ref)
            await self._set_names({parse(name): image.id})
        return self._with_names(image)

    async def load(self, file: BinaryIO) -> list[str]:
        """Take every image of an archive; their names, or ids where they have none.

        Raises CorruptData for an archive that is damaged or lies about digests; nothing stays.
        """
        async with self._changing:
            opened = archives.open_archive(file)
            archive = await trio.to_thread.run_sync(opened.__enter__)
            with contextlib.ExitStack() as held:
                held.push(opened.__exit__)
                return await self._load_all(archive)

    async def _load_all(self, archive: archives.Archive) -> list[str]:
        loaded: list[str] = []
        for found in await trio.to_thread.run_sync(archive.images):
            image = await self._load_one(archive, found)
            names = {parse(name): image.id for name in found.names}
            await self._set_names(names)
            loaded += [str(name) for name in names] or [image.id]
        return loaded

    async def _load_one(self, archive: archives.Archive, found: ArchivedImage) -> Image:
        parsed = configs.decode(found.config)
        diff_ids = parsed.rootfs.diff_ids
        if len(diff_ids) != len(found.layers):
            raise CorruptData(
                f"image has {len(found.layers)} layers, but its configuration {len(diff_ids)}"
            )
        made: list[str] = []
        try:
            parent: str | None = None
            for key, diff_id, name in zip(chain_ids(diff_ids), diff_ids, found.layers, strict=True):
                if not await trio.to_thread.run_sync(self._storage.exists, key):
                    made.append(key)  # it may be there though `_apply` is cancelled
                    with archives.unpacked(archive.open(name)) as layer:
                        await self._apply(key, parent, layer, diff_id)
                parent = key
            return await self._keep(found.config)
        except BaseException:  # cancelled too: layers of no image would stay
            await release("layers that were loaded", partial(self._remove_layers, made[::-1]))
            raise

    async def _apply(self, key: str, parent: str | None, layer: BinaryIO, diff_id: str) -> None:
        """Unpack one layer, and only keep it if it is what its digest says."""
        hashed = HashedReader(layer)
        await trio.to_thread.run_sync(self._storage.apply_diff, key, parent, cast(BinaryIO, hashed))
        digest = await trio.to_thread.run_sync(hashed.digest)
        if digest != diff_id:
            await self._remove_layers([key])
            raise CorruptData(f"layer digest mismatch: expected {diff_id}, got {digest}")

    async def import_rootfs(
        self, file: BinaryIO, name: str, *, message: str, config: ContainerConfig
    ) -> Image:
        """An image of one layer from a tar of a root file system; without a name if it is ""."""
        async with self._changing:
            reference = parse(name) if name else None
            with archives.unpacked(file) as plain:
                hashed = HashedReader(plain)
                await trio.to_thread.run_sync(hashed.digest)
            diff_id = hashed.digest()
            file.seek(0)
            key = chain_ids([diff_id])[0]
            made = not await trio.to_thread.run_sync(self._storage.exists, key)
            try:
                if made:
                    with archives.unpacked(file) as plain:
                        await self._apply(key, None, plain, diff_id)
                image = await self._keep(new_config(diff_id, message, config))
            except BaseException:  # cancelled too: a layer of no image would stay
                if made:
                    await release(f"layer {key}", partial(self._remove_layers, [key]))
                raise
            if reference is not None:
                await self._set_names({reference: image.id})
            return self._with_names(image)

    async def remove(self, ref: str, *, force: bool, used: Collection[str] = ()) -> list[Removed]:
        """Remove a name, and with its last name the image; what was done.

        `used` are the ids of images that containers have: Conflict, in Docker's words; with
        `force` such an image loses its name and stays.
        """
        async with self._changing:
            image = self.find(ref)
            by_id = _ID.fullmatch(ref) and not self._names.get(_tagged(ref))
            names = image.names if by_id else (parse(ref).tagged,)
            if by_id and len(names) > 1 and not force:
                raise Conflict(
                    f"conflict: unable to delete {_short(image)} (must be forced) - image is "
                    "referenced in multiple repositories"
                )
            last = set(names) >= set(image.names)
            is_used = image.id in used
            if last and is_used:
                _refuse_used(ref, image, by_id=bool(by_id), force=force)
            await self._write_names({n: i for n, i in self._names.items() if n not in names})
            done = [Removed(untagged=name) for name in names]
            if last and not is_used:
                done += await self._delete(image)
            return done

    async def _delete(self, image: Image) -> list[Removed]:
        file = self._configs / image.id.removeprefix("sha256:")
        await trio.to_thread.run_sync(file.unlink)
        del self._images[image.id]
        if not self._images:
            await self._remove_layers([mount_points.KEY])  # or the driver could not be changed
        return [Removed(deleted=image.id), *await self._drop_unused_layers(image.layers)]

    async def _drop_unused_layers(self, candidates: Iterable[str]) -> list[Removed]:
        """Remove layers that no image has any more, children before their parents."""
        used = self.layers()
        dropped = [key for key in reversed(list(candidates)) if key not in used]
        await self._remove_layers(dropped)
        return [Removed(deleted=f"sha256:{key}") for key in dropped]

    async def _remove_layers(self, keys: Iterable[str]) -> None:
        with trio.CancelScope(shield=True):
            for key in keys:
                try:
                    await trio.to_thread.run_sync(self._storage.remove, key)
                except (InUse, NotFound):
                    continue  # a container of a name that is gone may still have it

    async def _keep(self, raw: bytes) -> Image:
        """Store a configuration whose layers are there.

        Nothing can be cancelled after it is written: whoever is, removes the layers, and a
        configuration without them is taken for damage at the next start.
        """
        image = await self._describe(raw)
        file = self._configs / image.id.removeprefix("sha256:")
        try:
            await trio.to_thread.run_sync(write_whole, file, raw)
        except CrecheError:
            if image.id not in self._images:
                file.unlink(missing_ok=True)
            raise
        self._images[image.id] = image
        return image

    async def _describe(self, raw: bytes) -> Image:
        parsed = configs.decode(raw)
        keys = chain_ids(parsed.rootfs.diff_ids)
        sizes = [
            await trio.to_thread.run_sync(self._storage.diff_size, key, parent)
            for key, parent in zip(keys, [None, *keys], strict=False)
        ]
        return Image(id=digest_of(raw), parsed=parsed, raw=raw, layer_bytes=tuple(sizes))

    async def _set_names(self, names: dict[Reference, str]) -> None:
        await self._write_names(self._names | {n.tagged: i for n, i in names.items()})

    async def _write_names(self, names: dict[str, str]) -> None:
        await trio.to_thread.run_sync(write_whole, self._names_file, msgspec.json.encode(names))
        self._names = names

    def _read_names(self) -> dict[str, str]:
        self._configs.mkdir(parents=True, exist_ok=True, mode=0o700)
        for debris in (*self._configs.glob(".*"), *self._names_file.parent.glob(".*")):
            debris.unlink()
        try:
            return msgspec.json.decode(self._names_file.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            raise CorruptData(f"{self._names_file}: {error}") from error

    def _read_configs(self) -> list[bytes]:
        found = []
        for file in self._configs.iterdir():
            raw = file.read_bytes()
            if digest_of(raw) != f"sha256:{file.name}":
                raise CorruptData(f"{file}: its content has the digest {digest_of(raw)}")
            found.append(raw)
        return found


def _refuse_used(ref: str, image: Image, *, by_id: bool, force: bool) -> None:
    """Raise Conflict if what a container has is to go, or its last name without `force`."""
    if by_id:
        raise Conflict(
            f"conflict: unable to delete {_short(image)} (cannot be forced) - image is "
            "being used by a container"
        )
    if not force:
        raise Conflict(
            f'conflict: unable to remove repository reference "{ref}" (must force) - '
            f"a container is using its referenced image {_short(image)}"
        )


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is complete or as it was before, after a power loss as well."""
    aside = path.with_name(f".{path.name}")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(aside, path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(directory)
        os.close(directory)
    except OSError as error:
        raise from_os_error(error, f"write {path}") from error


def _tagged(ref: str) -> str:
    try:
        return parse(ref).tagged
    except CrecheError:
        return ""


def _short(image: Image) -> str:
    return image.id.removeprefix("sha256:")[:12]


async def open_store(directory: Path, storage: StorageDriver) -> ImageStore:
    """The store below `directory`. Raises CorruptData if what is stored is damaged."""
    store = ImageStore(directory, storage)
    await store.load_index()
    return store
