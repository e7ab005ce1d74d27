"""The container engine tests may use: named by the environment, as for any Docker client."""

from __future__ import annotations

import os

from workers.sandboxes.base import Engine


def engine() -> Engine:
    """Where DOCKER_HOST and SANDBOX_IMAGE point, or the usual socket and image."""
    image = os.environ.get("SANDBOX_IMAGE", Engine.image)
    return Engine(os.environ.get("DOCKER_HOST"), image)
