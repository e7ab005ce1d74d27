"""A model provider on the loopback that speaks both wire protocols and does as each test says.

The framing of `_openai` and `_anthropic` follows the streams the real endpoints send: chunk by
chunk, with the empty first delta, the usage chunk, `[DONE]`, event names and pings.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

WAIT = 20.0  # seconds after which a hanging answer lets go on its own


@dataclass(frozen=True)
class Answer:
    """What the provider says to one request, and how it misbehaves while it does.

    `calls` are (name, JSON text) pairs, `tokens` those sent and answered (no more than asked for).
    `hang` and `cut` count the frames that still arrive; -1 is before the response's head. `split`
    is the bytes written at a time.
    """

    text: tuple[str, ...] = ()
    thinking: tuple[str, ...] = ()
    signature: str | None = None
    redacted: str | None = None
    calls: tuple[tuple[str, str], ...] = ()
    stop: Literal["end", "length", "refusal"] = "end"
    usage: bool = True
    tokens: tuple[int, int] = (100, 20)
    status: int = 200
    error: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: int | None = None
    cut: int | None = None
    split: int = 1 << 20
    raw: bytes | None = None


@dataclass(frozen=True)
class Received:
    """A request as it arrived; header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    port: int = 0  # the caller's, on the loopback


class Provider:
    """The server; a context manager. Answers are given in order, the last one again and again."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.hung_up = threading.Event()  # a client left before its answer was whole
        self.released = threading.Event()
        self._answers: list[Answer] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Conversation)
        self._server.provider = self

    def answers(self, *answers: Answer) -> None:
        with self._lock:
            self._answers = list(answers)

    def next(self) -> Answer:
        with self._lock:
            if not self._answers:
                return Answer(status=500, error={"type": "server_error", "message": "no script"})
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def reply_to(self, received: Received) -> Answer:
        """What to say to a request: what the test has told, and the request is kept for it.

        Kept last: a test that sees the request may tell what is to be said to the next one.
        """
        answer = self.next()
        self.requests.append(received)
        return answer

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return self._server.server_port

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    provider: Provider

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the story; a fault of ours is not.

        With frames unread, or still on their way, its leaving is a reset and no end of file.
        """
        fault = sys.exc_info()[1]
        if isinstance(fault, ConnectionError):
            self.provider.hung_up.set()
        elif not isinstance(fault, OSError):
            raise


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"] or 0)
        data = self.rfile.read(length)
        if not 0 < length == len(data):
            raise ConnectionAbortedError("the client left amid its request")
        body = json.loads(data)
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.path, headers, body, port=self.client_address[1])
        answer = self.server.provider.reply_to(received)
        claude = self.path.endswith("/messages")
        if answer.status != 200:
            self._refuse(answer, claude)
            return
        frames = _anthropic(answer, body) if claude else _openai(answer, body)
        self._stream(answer, iter([answer.raw]) if answer.raw is not None else frames)

    def _refuse(self, answer: Answer, claude: bool) -> None:
        body = {"type": "error", "error": answer.error} if claude else {"error": answer.error}
        data = json.dumps(body).encode()
        self.send_response(answer.status)
        self._head(answer, "application/json", {"Content-Length": str(len(data))})
        self.wfile.write(data)

    def _stream(self, answer: Answer, frames: Iterator[bytes]) -> None:
        if answer.hang == -1:
            self._hang()
        if answer.cut == -1:
            self._cut()
            return
        self.send_response(200)
        self._head(answer, "text/event-stream", {"Transfer-Encoding": "chunked"})
        for number, frame in enumerate(frames):
            if answer.hang == number:
                self._hang()
            if answer.cut == number:
                self._cut()
                return
            for start in range(0, len(frame), answer.split):
                self._write(frame[start : start + answer.split])
        self.wfile.write(b"0\r\n\r\n")

    def _head(self, answer: Answer, kind: str, more: Mapping[str, str]) -> None:
        for name, value in {"Content-Type": kind, **more, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _write(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _hang(self) -> None:
        self.connection.settimeout(0.05)
        for _ in range(int(WAIT / 0.05)):
            if self.server.provider.released.is_set():
                break
            try:
                if not self.connection.recv(1, socket.MSG_PEEK):
                    self.server.provider.hung_up.set()
                    break
            except TimeoutError:
                continue
        self.connection.settimeout(None)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def _openai(answer: Answer, request: Mapping[str, Any]) -> Iterator[bytes]:
    """The frames of a chat completion."""
    shared = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": request["model"],
        "system_fingerprint": "fp_1",
    }

    def frame(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return data_frame({**shared, "choices": [choice], "usage": None})

    yield frame({"role": "assistant", "content": "", "refusal": None})
    for piece in answer.thinking:
        yield frame({"reasoning_content": piece})
    for piece in answer.text:
        yield frame({"refusal" if answer.stop == "refusal" else "content": piece})
    for index, (name, arguments) in enumerate(answer.calls):
        function = {"name": name, "arguments": ""}
        head = {"index": index, "id": f"call_{index}", "type": "function", "function": function}
        yield frame({"tool_calls": [head]})
        for piece in _pieces(arguments):
            yield frame({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    finish = {"length": "length", "refusal": "stop"}.get(answer.stop)
    yield frame({}, finish or ("tool_calls" if answer.calls else "stop"))
    if answer.usage and request.get("stream_options", {}).get("include_usage"):
        answered = _answered(answer, request)
        usage = {
            "prompt_tokens": answer.tokens[0],
            "completion_tokens": answered,
            "total_tokens": answer.tokens[0] + answered,
            "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 8},
        }
        yield data_frame({**shared, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _anthropic(answer: Answer, request: Mapping[str, Any]) -> Iterator[bytes]:
    """The frames of a message."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    if answer.usage:
        message["usage"] = {
            "input_tokens": answer.tokens[0] - 70,
            "cache_creation_input_tokens": 6,
            "cache_read_input_tokens": 64,
            "output_tokens": 1,
        }
    yield event_frame("message_start", message=message)
    yield event_frame("ping")
    for index, (block, deltas) in enumerate(_anthropic_blocks(answer)):
        yield event_frame("content_block_start", index=index, content_block=block)
        for delta in deltas:
            yield event_frame("content_block_delta", index=index, delta=delta)
        yield event_frame("content_block_stop", index=index)
    reasons = {"length": "max_tokens", "refusal": "refusal"}
    reason = reasons.get(answer.stop) or ("tool_use" if answer.calls else "end_turn")
    delta = {"stop_reason": reason, "stop_sequence": None}
    yield event_frame("message_delta", delta=delta, **_anthropic_usage(answer, request))
    yield event_frame("message_stop")


def _anthropic_blocks(answer: Answer) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    if answer.thinking:
        deltas: list[dict[str, Any]] = [
            {"type": "thinking_delta", "thinking": piece} for piece in answer.thinking
        ]
        if answer.signature:
            deltas.append({"type": "signature_delta", "signature": answer.signature})
        yield {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if answer.redacted:
        yield {"type": "redacted_thinking", "data": answer.redacted}, []
    if answer.text:
        texts = [{"type": "text_delta", "text": piece} for piece in answer.text]
        yield {"type": "text", "text": ""}, texts
    for number, (name, arguments) in enumerate(answer.calls):
        block = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {}}
        pieces = ["", *_pieces(arguments)]
        yield block, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def _anthropic_usage(answer: Answer, request: Mapping[str, Any]) -> dict[str, Any]:
    if not answer.usage:
        return {}
    answered = {"output_tokens": _answered(answer, request)}
    return {"usage": answered | {"output_tokens_details": {"thinking_tokens": 8}}}


def _answered(answer: Answer, request: Mapping[str, Any]) -> int:
    return min([answer.tokens[1], *(request[key] for key in request if key.startswith("max_"))])


def _pieces(text: str, size: int = 7) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def data_frame(value: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def event_frame(name: str, **value: Any) -> bytes:
    body = json.dumps({"type": name, **value}, ensure_ascii=False)
    return f"event: {name}\ndata: {body}\n\n".encode()
