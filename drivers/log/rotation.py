"""A log file that is rotated at whole lines, and compressed behind the writer's back.

NAME is the newest, NAME.1 the one before, NAME.2.gz an older one, and so on. Generations count up
from the opening: the file of a generation is found under the name that is its age.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import threading
from typing import BinaryIO

_COMPRESS_LEVEL = 1  # the disk is spared nine tenths of it; a higher level costs the host more


class RotatingFile:
    """Writes to one file of a directory; every call blocks, and only `append` may rotate.

    Names are looked up below the directory's descriptor and never through a symlink.
    """

    def __init__(
        self,
        directory: str,
        name: str,
        *,
        max_bytes: int,
        max_files: int,
        compress: bool,
        mode: int,
    ) -> None:
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._name = name
        self._max_bytes = max_bytes  # 0 is no limit
        self._max_files = max_files
        self._compress = compress
        self._mode = mode
        self._names = threading.Lock()  # held while names move
        self._compressing: threading.Thread | None = None
        self.generation = 0
        try:
            for debris in (self._debris, self._fresh):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(debris, dir_fd=self._directory)
            self._fd = self._open(self._name)
        except BaseException:  # nobody else closes it
            os.close(self._directory)
            raise
        self._size = os.fstat(self._fd).st_size

    @property
    def _debris(self) -> str:
        return f".{self._name}.gz"

    @property
    def _fresh(self) -> str:
        return f".{self._name}"

    def _open(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, self._mode, dir_fd=self._directory)

    def append(self, lines: bytes) -> None:
        """Write whole lines, rotating between two of them where the file is full.

        What cannot be written completely is taken back. Raises OSError.
        """
        while lines:
            if not self._max_bytes:
                self._write(lines)
                return
            if self._size >= self._max_bytes and not self._rotate():
                self._write(lines)  # a file that is too long is better than lines that are lost
                return
            room = self._max_bytes - self._size
            cut = lines.find(b"\n", room - 1) + 1 or len(lines)
            self._write(lines[:cut])
            lines = lines[cut:]

    def _write(self, lines: bytes) -> None:
        view = memoryview(lines)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, self._size)  # no half line stays behind
            raise
        self._size += len(lines)

    def _rotate(self) -> bool:
        """Begin a new file; False, and nothing has changed, if there can be none now."""
        if self._max_files == 1:
            os.ftruncate(self._fd, 0)
            self._size = 0
            self.generation += 1
            return True
        try:
            fresh = self._open(self._fresh)  # before anything moves: descriptors may have run out
        except OSError:
            return False
        try:
            with self._names:
                self._move(self._max_files - 1, None)
                for age in range(self._max_files - 2, 0, -1):
                    self._move(age, age + 1)
                self._rename(self._name, f"{self._name}.1")
                self._rename(self._fresh, self._name)
                os.close(self._fd)
                self._fd, self._size = fresh, 0
                self.generation += 1
        except OSError:
            os.close(fresh)
            raise
        self._begin_to_compress(self.generation - 1)
        return True

    def _begin_to_compress(self, generation: int) -> None:
        if not self._compress or (self._compressing is not None and self._compressing.is_alive()):
            return
        thread = threading.Thread(target=self._compress_one, args=(generation,), daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread can be started: it stays as it is
            thread.start()
            self._compressing = thread

    def _rename(self, name: str, to: str) -> None:
        os.rename(name, to, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def _move(self, age: int, to: int | None) -> None:
        """Rename, or without `to` delete, the file of an age, compressed or not."""
        for suffix in ("", ".gz"):
            name = f"{self._name}.{age}{suffix}"
            with contextlib.suppress(FileNotFoundError):
                if to is None:
                    os.unlink(name, dir_fd=self._directory)
                else:
                    self._rename(name, f"{self._name}.{to}{suffix}")

    def _compress_one(self, generation: int) -> None:
        """Compress the file of a generation; a disk that is full leaves it as it is."""
        with contextlib.suppress(OSError):
            plain = self.open_generation(generation, self._directory)
            if plain is None:
                return
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            aside = os.open(self._debris, flags, self._mode, dir_fd=self._directory)
            try:
                with plain, open(aside, "wb") as raw, gzip.open(raw, "wb", _COMPRESS_LEVEL) as out:
                    shutil.copyfileobj(plain, out, 1024 * 1024)
                self._take_compressed(generation)
            except OSError:
                os.unlink(self._debris, dir_fd=self._directory)
                raise

    def _take_compressed(self, generation: int) -> None:
        with self._names:
            age = self.generation - generation
            if age >= self._max_files:  # it was rotated away meanwhile
                os.unlink(self._debris, dir_fd=self._directory)
                return
            plain = f"{self._name}.{age}"
            self._rename(self._debris, f"{plain}.gz")
            os.unlink(plain, dir_fd=self._directory)

    @property
    def is_compressing(self) -> bool:
        """Whether `close` would wait for a compression that is under way; otherwise it is quick."""
        return self._compressing is not None and self._compressing.is_alive()

    def oldest_generation(self, directory: int) -> int:
        """The oldest that there is a file of; negative ones were written before the opening."""
        names = {name.removesuffix(".gz") for name in os.listdir(directory)}
        ages = [age for age in range(1, self._max_files) if f"{self._name}.{age}" in names]
        return self.generation - max(ages, default=0)

    def hold_directory(self) -> int:
        """A descriptor of the directory, for reading on after `close`; the caller's to close."""
        return os.dup(self._directory)

    def open_generation(self, generation: int, directory: int) -> BinaryIO | None:
        """The content of a generation from its beginning, or None if it has been rotated away."""
        with self._names:
            age = self.generation - generation
            base = self._name if age == 0 else f"{self._name}.{age}"
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            with contextlib.suppress(FileNotFoundError):
                return os.fdopen(os.open(base, flags, dir_fd=directory), "rb")
            with contextlib.suppress(FileNotFoundError):
                packed = os.fdopen(os.open(f"{base}.gz", flags, dir_fd=directory), "rb")
                unpacked = gzip.GzipFile(fileobj=packed)
                unpacked.myfileobj = packed  # type: ignore[assignment]  # closed together
                return unpacked  # type: ignore[return-value]
        return None

    def close(self) -> None:
        """Wait for a compression that is under way, and let go. Idempotent."""
        if self._compressing is not None:
            self._compressing.join()
        if self._fd >= 0:
            os.close(self._fd)
            os.close(self._directory)
            self._fd = self._directory = -1
