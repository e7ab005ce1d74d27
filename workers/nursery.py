"""What cells are forked from begins with this: signals meant for the worker do not end it.

A platform may send SIGTERM to everything of a worker at once; the worker then tells its cells when
to go. Handlers, so that the programs which cells start have the usual ones again.
"""

from __future__ import annotations

import signal

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, lambda *_: None)
