"""What takes long to make and does not change by itself, kept by this process while it fits."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

MOST_BYTES = 64 * 1024 * 1024  # of a process, over all that it keeps


class Kept:
    """The last thing made under each key; what nobody asked for longest goes when it gets full.

    Nothing here says whether a thing is still true: whoever takes it out compares versions.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most = most
        self.size = 0
        self._things: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> Any:
        """The thing, or None."""
        with self._lock:
            if key not in self._things:
                return None
            self._things.move_to_end(key)
            return self._things[key][0]

    def put(self, key: Hashable, thing: Any, size: int) -> None:
        """Keep a thing of so many bytes in place of the last one; not if it fits nowhere."""
        with self._lock:
            self.size -= self._things.pop(key, (None, 0))[1]
            if size > self.most:
                return
            self._things[key] = thing, size
            self.size += size
            while self.size > self.most:
                _, (_, freed) = self._things.popitem(last=False)
                self.size -= freed


kept = Kept()
