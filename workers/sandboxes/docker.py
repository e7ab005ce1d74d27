"""Commands in a container per step, through the API that Docker and Podman share."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container
from docker.types import Ulimit
from docker.utils.socket import frames_iter
from requests.exceptions import RequestException

from workers.halting import Halt
from workers.sandboxes.base import (
    COOKIES,
    LOCALE,
    MOUNT,
    SEARCH_PATH,
    Engine,
    Hear,
    Output,
    SandboxAway,
    SandboxUnavailable,
    Spec,
)
from workers.sandboxes.capture import Capture
from workers.sandboxes.scratch import lay_out, scratch

USUAL = "unix:///var/run/docker.sock"
OLDEST = "1.24"  # only to ask for the engine's own
HOME = "/home/agent"
LABEL = "djinnbot.step"  # finds what a worker that was killed left behind
# Named because Podman asks for a million of each otherwise, which a modest host refuses. The kernel
# counts processes per user of the host, so this is no bound for a step: pids_limit is.
HOST_WIDE = {"nofile": 1024, "nproc": 4096}
LIFETIME = 24 * 3600  # seconds; such a container ends by itself
ANSWER_SECONDS = 60
LOOK_EVERY = 0.1
LAST_WORDS = 1.0  # seconds the output of an ended command may still take to arrive


class Docker:
    """Stronger and heavier than bubblewrap, with the toolchain of an image of one's choice.

    The engine must see the workspace under the same path as this process does.
    """

    name = "docker"
    confines = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def probe(self) -> SandboxUnavailable | None:
        """None when an engine answers, else what went wrong."""
        try:
            self._client().close()
        except SandboxAway as away:
            return away
        return None

    @contextmanager
    def open(self, spec: Spec) -> Iterator[_Open]:
        """A container that is removed with everything in it after the block."""
        try:
            with contextlib.closing(self._client()) as client, scratch() as folder:
                lay_out(folder / COOKIES, spec.belongings.cookies)
                container = _create(client, self._engine.image, spec, folder / COOKIES)
                try:
                    container.start()
                    yield _Open(container, spec)
                finally:
                    container.remove(force=True, v=True)
        except (DockerException, RequestException) as error:
            raise SandboxAway(f"the container engine failed: {error}") from error

    @property
    def _address(self) -> str:
        return self._engine.host or USUAL

    def _client(self) -> docker.DockerClient:
        """A client that speaks the engine's own version: newer engines refuse old ones."""
        try:
            version = self._version()
        except (DockerException, RequestException, OSError) as error:
            said = f"no container engine answers at {self._address} ({error})"
            raise SandboxAway(said) from error
        return docker.DockerClient(self._address, version=version, timeout=ANSWER_SECONDS)

    def _version(self) -> str:
        kind, _, path = self._address.partition("://")
        if kind == "unix":  # the SDK leaks its socket when nobody listens, so knock first
            with contextlib.closing(socket.socket(socket.AF_UNIX)) as knock:
                knock.connect(path)
        with contextlib.closing(docker.APIClient(self._address, version=OLDEST)) as api:
            return str(api.version(api_version=False)["ApiVersion"])


@dataclass(frozen=True)
class _Open:
    container: Container
    spec: Spec

    @property
    def _api(self) -> docker.APIClient:
        return cast(docker.DockerClient, self.container.client).api  # one made the container

    def run(
        self, argv: Sequence[str], timeout: float, halt: Halt, hear: Hear | None = None
    ) -> Output:
        halt.check()
        api = self._api
        made = api.exec_create(
            self.container.id, list(argv), workdir=MOUNT, environment=self._env()
        )["Id"]
        capture, heard = Capture(self.spec.output_bytes, hear), threading.Event()
        stream = api.exec_start(made, socket=True)
        threading.Thread(target=_hear, args=(stream, capture, heard), daemon=True).start()
        code = self._ended(made, heard, halt.remaining(timeout), halt)
        if code is None:
            self._start_over()
            heard.wait(LAST_WORDS)
        halt.check()
        killed = code is None
        return Output(-9 if code is None else code, capture.text, killed, capture.truncated)

    def _ended(self, made: str, heard: threading.Event, seconds: float, halt: Halt) -> int | None:
        """The command's exit code; None when the time was up or the halt raised before."""
        api, deadline = self._api, time.monotonic() + seconds
        while not halt.stopped and (left := deadline - time.monotonic()) > 0:
            heard.wait(min(left, LOOK_EVERY))
            state = api.exec_inspect(made)
            if not state["Running"]:
                # What it left behind may hold the stream open: wait for the rest, but briefly.
                heard.wait(LAST_WORDS)
                return int(state["ExitCode"])
            if heard.is_set():
                time.sleep(LOOK_EVERY)  # it closed its output and works on
        return None

    def _start_over(self) -> None:
        """End every process of the container; its files stay."""
        self.container.kill()
        self.container.wait()
        self.container.start()

    def _env(self) -> dict[str, str]:
        return {"PATH": SEARCH_PATH, "HOME": HOME, "LANG": LOCALE} | dict(self.spec.belongings.env)


def _hear(stream: Any, capture: Capture, heard: threading.Event) -> None:
    """Take in what arrives until the stream ends, then say so."""
    try:
        for _, data in frames_iter(stream, tty=False):
            capture.add(data)
    finally:
        heard.set()
        _hang_up(stream)


def _hang_up(stream: Any) -> None:
    """Close the connection whole; closing only the stream the SDK hands out would leak it."""
    connection = stream._response.raw.connection
    (connection or stream).close()


def _create(client: docker.DockerClient, image: str, spec: Spec, cookies: Path) -> Container:
    try:
        client.images.get(image)
    except ImageNotFound:
        _pull(client, image)
    return client.containers.create(
        image,
        ["sleep", str(LIFETIME)],
        labels=[LABEL],
        working_dir=MOUNT,
        user=_user(client.info(), spec),
        volumes=_volumes(spec, cookies),
        tmpfs={"/tmp": "rw,exec,mode=1777", HOME: "rw,exec,mode=1777"},  # noqa: S108
        read_only=True,
        network_mode=None if spec.network else "none",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit=f"{spec.memory_mb}m",
        memswap_limit=f"{spec.memory_mb}m",
        pids_limit=spec.processes,
        ulimits=_ulimits(spec),
        stop_signal="SIGKILL",
    )


def _pull(client: docker.DockerClient, image: str) -> None:
    try:
        client.images.pull(image)
    except APIError as refused:
        if refused.is_client_error():
            raise SandboxUnavailable(f"SANDBOX_IMAGE={image} is not to be had: {refused}") from None
        raise


def _user(info: Mapping[str, Any], spec: Spec) -> str:
    """Whoever owns the workspace; under a rootless engine that is the root inside."""
    if any("rootless" in option for option in info.get("SecurityOptions") or ()):
        return "0:0"
    owner = spec.tree.stat()
    return f"{owner.st_uid}:{owner.st_gid}"


def _volumes(spec: Spec, cookies: Path) -> dict[str, dict[str, str]]:
    mounts = {str(spec.tree): {"bind": MOUNT, "mode": "rw"}}
    if spec.git_dir:
        mounts[str(spec.git_dir)] = {"bind": f"{MOUNT}/.git", "mode": "ro"}
    if spec.belongings.cookies:
        mounts[str(cookies)] = {"bind": f"{HOME}/{COOKIES}", "mode": "ro"}
    return mounts


def _ulimits(spec: Spec) -> list[Ulimit]:
    limits = {"fsize": spec.file_mb << 20, "cpu": spec.seconds, "core": 0, **HOST_WIDE}
    return [Ulimit(name=name, soft=most, hard=most) for name, most in limits.items()]
