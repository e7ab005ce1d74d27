"""Orders for swarms, and swarms that are made of them."""

from __future__ import annotations

from typing import Any

from models.principals import Principal
from models.swarms import Swarm, SwarmTask
from tasks import swarms
from tests.processes.product import scripted

ANNA = Principal("usr_anna", "user")


def task(key: str, *dependencies: str, does: dict[str, Any] | None = None, **more: Any) -> Any:
    """A task whose executor writes the file `<key>.txt`, or `does` something else."""
    write = {"name": "write", "arguments": {"path": f"{key}.txt", "content": f"by {key}\n"}}
    play = does if does is not None else {"calls": [write]}
    return {
        "key": key,
        "title": f"Make {key}",
        "project_id": "p1",
        "task_id": f"T-{key}",
        "execution_prompt": scripted(f"Write {key}", EXECUTE=[play]),
        "dependencies": list(dependencies),
        **more,
    }


DIAMOND = (task("A"), task("B"), task("C", "A", "B"), task("D", "C"))


def launched(*tasks: dict[str, Any], asked_by: str | None = None, **form: Any) -> Swarm:
    """A swarm of these tasks; `idempotent` is the key it is asked for with."""
    key = form.pop("idempotent", None)
    form = {"agent_id": "yukihiro", "tasks": list(tasks), **form}
    return swarms.launch(ANNA.id, form, asked_by, key)


def states(swarm: Swarm) -> dict[str, str]:
    return {each.key: each.state for each in SwarmTask.of(swarm)}
