"""A chat with real processes: killed in mid-answer, restarted whole, and told once to everybody."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx
import redis

from tests.processes.product import COMMANDS, Product, frames, product, until

SLOWLY = {"chunks": 200, "chunk": "word ", "delay_ms": 20}
STORY = f"Tell me\n\n```scripted\n{json.dumps({'default': SLOWLY})}\n```\n"
OVER = {"turn_end", "response_aborted"}


class Follower(threading.Thread):
    """Follows a chat for good: whenever it is cut off it goes on where that was."""

    def __init__(self, running: Product, chat: str) -> None:
        super().__init__(daemon=True)
        self.running, self.chat = running, chat
        self.last: str | None = None
        self.heard: list[dict[str, Any]] = []
        self.cuts = 0
        self.stopped = False

    def run(self) -> None:
        while not self.stopped:
            with suppress(httpx.TransportError, httpx.HTTPStatusError):
                self._follow()
            self.cuts += 1
            time.sleep(0.2)

    def _follow(self) -> None:
        headers = {"Last-Event-ID": self.last} if self.last else {}
        path = f"{self.running.url}/v1/events/sessions/{self.chat}/events"
        with httpx.stream("GET", path, headers=headers, timeout=20) as answer:
            answer.raise_for_status()
            for position, frame in frames(answer.iter_lines()):
                self.last = position or self.last
                if frame["type"] != "connected":
                    self.heard.append(frame)
                if self.stopped:
                    return

    def words(self) -> str:
        """What is on the screen of a client that only appends."""
        text = ""
        for frame in list(self.heard):
            text = "" if frame["type"] == "output_reset" else text
            text += frame["data"]["content"] if frame["type"] == "output" else ""
        return text

    def has(self, count: int) -> bool:
        """Whether so many turns are over."""
        return sum(frame["type"] in OVER for frame in list(self.heard)) >= count


def answers(running: Product, chat: str) -> list[dict[str, Any]]:
    messages = running.get(f"/chat/sessions/{chat}")["messages"]
    return [message for message in messages if message["role"] == "assistant"]


def test_an_answer_outlives_its_worker_the_whole_product_and_redis(tmp_path: Path) -> None:
    with product(tmp_path) as running:
        chat = running.post("/chat/sessions", agent_id="finn", model="scripted/demo")["id"]
        followers = [Follower(running, chat) for _ in range(2)]
        for follower in followers:
            follower.start()
        running.post(f"/chat/sessions/{chat}/message", message=STORY)
        until(lambda: all(len(each.words()) > 200 for each in followers))

        running.kill("agents")
        running.start("agents")
        until(lambda: all(len(each.words()) > 500 for each in followers))
        with redis.Redis.from_url(running.environment["REDIS_URL"]) as client:
            client.flushall()
        for name in list(running.processes):
            running.kill(name)
        running.start(*COMMANDS)
        running.ready()

        until(lambda: all(each.has(1) for each in followers), 60)
        (answer,) = answers(running, chat)
        assert answer["status"] == "completed"
        assert answer["content"].startswith("word " * 200)
        assert [each.words() for each in followers] == [answer["content"]] * 2
        assert [each.has(2) for each in followers] == [False, False]
        assert all(each.cuts for each in followers)
        assert running.get(f"/chat/sessions/{chat}")["status"] == "running"

        running.post(f"/chat/sessions/{chat}/message", message="And now?")
        until(lambda: all(each.has(2) for each in followers))
        told = "".join(each["content"] for each in answers(running, chat))
        assert [each.words() for each in followers] == [told] * 2
        kinds = [[frame["type"] for frame in each.heard] for each in followers]
        assert [each.count("container_busy") for each in kinds] == [2, 2]
        assert [each.count("turn_end") for each in kinds] == [2, 2]
        for follower in followers:
            follower.stopped = True


def test_a_running_command_is_stopped_within_seconds(running: Product) -> None:
    call = {"name": "bash", "arguments": {"command": "sleep 60"}}
    story = f"Wait\n\n```scripted\n{json.dumps({'default': {'calls': [call]}})}\n```\n"
    chat = running.post("/agents/finn/chat/start", model="scripted/demo")["sessionId"]
    follower = Follower(running, chat)
    follower.start()
    running.post(f"/agents/finn/chat/{chat}/message", message=story)
    until(lambda: any(frame["type"] == "tool_start" for frame in list(follower.heard)))
    began = time.monotonic()
    running.post(f"/agents/finn/chat/{chat}/stop")
    until(lambda: follower.has(1))
    running.post(f"/agents/finn/chat/{chat}/message", message="Again")
    until(lambda: follower.has(2), 20)
    assert time.monotonic() - began < 10
    stopped, answered = answers(running, chat)
    assert (stopped["status"], answered["status"]) == ("aborted", "completed")
    follower.stopped = True
