"""Bytes addressed by their SHA-256, in a local folder or an object store behind one URL.

A blob never changes, so storing it twice is storing it once and any machine may fetch it.
Layout below the URL's path: `ab/cd/<64 hex digits>`, where `abcd` are the first digits; what one
owner has for itself has its mark behind them.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any, ClassVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from models.errors import Invalid, NotFound, Unavailable

DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
MARK = re.compile(r"\w{1,128}", re.ASCII)
CHUNK_BYTES = 1024 * 1024
MEMORY_BYTES = (
    4 * CHUNK_BYTES
)  # an upload of unknown length waits in memory up to here, then on disk
IN_PARTS: Mapping[str, Any] = {"chunk_size": 5 * CHUNK_BYTES, "max_concurrency": 4}
CONNECT_TIMEOUT = "5s"
REQUEST_TIMEOUT = "10m"  # body included


_elsewhere: Callable[..., Any] | None = None


def wait_elsewhere(run: Callable[..., Any] | None) -> None:
    """Let `run(work, *arguments)` wait for the store, where the calling thread serves others.

    None: here.
    """
    global _elsewhere
    _elsewhere = run


class Damaged(Unavailable):
    """A stored blob is not what its name promises."""


class Blobs:
    """The blobs under `url`: `file:///path`, `s3://`, `gs://`, `az://` or `memory://`.

    Nothing is opened or made before the first call. A digest is 64 lower-case hex digits;
    everything else raises Invalid, an unknown one NotFound, a store that fails Unavailable.
    What is stored under a `mark` is shared with nobody: it may be deleted when its owner goes.
    """

    _owner: ClassVar[int | None] = None  # the process whose threads obstore runs on

    def __init__(self, url: str, mark: str = "") -> None:
        if mark and not MARK.fullmatch(mark):
            raise Invalid("A mark has letters, digits and underscores")
        self.url = url
        self.mark = mark

    def put(self, source: Path | bytes | Iterable[bytes]) -> str:
        """Store `source`, all of it or nothing, in constant memory; return its digest.

        A file named by `source` must not change meanwhile (a reader would find it Damaged).
        """
        if isinstance(source, bytes):
            return self._store(source, hashlib.sha256(source).hexdigest(), len(source))
        if isinstance(source, Path):
            with source.open("rb") as file:
                return self.put_file(file, hashlib.file_digest(file, "sha256").hexdigest())
        with tempfile.SpooledTemporaryFile(MEMORY_BYTES) as spool:
            hashed = hashlib.sha256()
            for chunk in source:
                hashed.update(chunk)
                spool.write(chunk)
            size = spool.tell()
            spool.seek(0)
            return self._store(spool, hashed.hexdigest(), size)

    def put_file(self, file: IO[bytes], digest: str) -> str:
        """Store an open file from its beginning to its end; `digest` is its content's."""
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return self._store(file, digest, size)

    def get(self, digest: str) -> bytes:
        """The whole blob, proved."""
        return b"".join(self.stream(digest))

    def stream(self, digest: str) -> Iterator[bytes]:
        """The blob in chunks; Damaged comes in place of the last one when the whole is wrong."""
        key = self._key(digest)
        hashed = hashlib.sha256()
        held = b""
        with self._words(digest):
            found = _done(obstore.get, self._bucket, key)
            chunks = iter(found.stream(min_chunk_size=CHUNK_BYTES))
            while (chunk := _done(next, chunks, None)) is not None:
                if held:
                    yield held
                held = bytes(chunk)
                hashed.update(held)
        if hashed.hexdigest() != digest:
            raise Damaged(f"Blob {digest} is damaged")
        if held:
            yield held

    def save(self, digest: str, path: Path) -> None:
        """Write the blob to `path`, which appears whole or not at all."""
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".blob-", delete=False) as file:
            try:
                for chunk in self.stream(digest):
                    file.write(chunk)
                file.flush()
                Path(file.name).replace(path)
            finally:
                Path(file.name).unlink(missing_ok=True)

    def size(self, digest: str) -> int:
        """Its length in bytes."""
        with self._words(digest):
            return int(_done(obstore.head, self._bucket, self._key(digest))["size"])

    def exists(self, digest: str) -> bool:
        try:
            self.size(digest)
        except NotFound:
            return False
        return True

    def delete(self, digest: str) -> None:
        """Forget the blob; one that is not there is no error."""
        try:
            with self._words(digest):
                _done(obstore.delete, self._bucket, self._key(digest))
        except NotFound:
            return

    def _store(self, content: bytes | IO[bytes], digest: str, size: int) -> str:
        if self._holds(digest, size):
            return digest
        key = self._key(digest)
        with self._words(digest):
            _done(partial(obstore.put, **IN_PARTS), self._bucket, key, content)
        if self._folder:
            _settle(self._folder / key)
        return digest

    def _holds(self, digest: str, size: int) -> bool:
        """A blob of another length was torn by a power cut: it is written again."""
        try:
            return self.size(digest) == size
        except NotFound:
            return False

    @cached_property
    def _folder(self) -> Path | None:
        parts = urlsplit(self.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    @property
    def _bucket(self) -> ObjectStore:
        if Blobs._owner not in {None, os.getpid()}:
            # obstore's threads do not survive a fork: a call in the child would wait for ever.
            raise Unavailable("The blob store was in use before this process was forked")
        Blobs._owner = os.getpid()
        return self._opened

    @cached_property
    def _opened(self) -> ObjectStore:
        if self._folder:
            return LocalStore(self._folder, mkdir=True)
        if urlsplit(self.url).scheme == "memory":
            return MemoryStore()
        return from_url(
            self.url,
            client_options={"connect_timeout": CONNECT_TIMEOUT, "timeout": REQUEST_TIMEOUT},
        )

    def _key(self, digest: str) -> str:
        if not DIGEST.fullmatch(digest):
            raise Invalid("A blob is named by 64 hex digits")
        whose = f"-{self.mark}" if self.mark else ""
        return f"{digest[:2]}/{digest[2:4]}/{digest}{whose}"

    @contextmanager
    def _words(self, digest: str) -> Iterator[None]:
        """Say the store's errors in the domain's words."""
        try:
            yield
        except FileNotFoundError:
            raise NotFound(f"Blob {digest} not found") from None
        except (BaseError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise Unavailable(f"The blob store failed: {reason}") from error


def _done(work: Callable[..., Any], *arguments: Any) -> Any:
    return _elsewhere(work, *arguments) if _elsewhere else work(*arguments)


def _settle(path: Path) -> None:
    """Make the file outlive a power cut: the rows that name it do."""
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
