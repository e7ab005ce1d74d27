"""The sandboxes there are, and which one this machine may use."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from workers.sandboxes.base import Backend, Engine, SandboxUnavailable

BACKENDS = {
    "bubblewrap": "workers.sandboxes.bubblewrap:Bubblewrap",
    "docker": "workers.sandboxes.docker:Docker",
    "unsafe-local": "workers.sandboxes.unsafe_local:UnsafeLocal",
}


def backend(name: str, engine: Engine | None = None) -> Backend:
    """The backend called `name`, unasked whether it works; KeyError when there is none."""
    module, _, kind = BACKENDS[name].partition(":")
    return cast(Backend, getattr(import_module(module), kind)(engine or Engine()))


def choose(name: str, engine: Engine | None = None) -> Backend:
    """The backend called `name`; raises SandboxUnavailable when it cannot confine here."""
    if name not in BACKENDS:
        raise SandboxUnavailable(f"SANDBOX={name} is not one of {', '.join(BACKENDS)}")
    chosen = backend(name, engine)
    fault = chosen.probe()
    if fault is None:
        return chosen
    raise type(fault)(
        f"The {name} sandbox does not work on this machine: {fault}. Mend it, choose another with "
        "SANDBOX, or set SANDBOX=unsafe-local to run agents' commands without any confinement."
    )
