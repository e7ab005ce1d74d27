"""What an agent is told at the start of a step: pure text out of plain values.

The first line of the user's message and the `# FINISHING` section are a contract: the scripted
model reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from models.definitions import Definition, StepSpec
from workers.agents.handover import declared_outputs, lines
from workers.agents.tools.base import bounded
from workers.llm.base import Message, Text
from workers.pipelines.decisions import LoopView

# How many characters a section may take, so that no run's history can overflow a window.
AGENT_FILE = 24_000
PROGRESS = 6_000
TASK = 24_000
OUTPUTS = 12_000
ONE_OUTPUT = 4_000
FEEDBACK = 6_000
NOTE = 8_000
INPUT = 60_000
ITEM = 8_000
COMPLETED = 3_000
COMMITS = 10
RULES = 8_000
INBOX = 24_000
BY_CHANCE = 60

FILES = {
    "IDENTITY.md": "IDENTITY",
    "SOUL.md": "SOUL",
    "DECISION.md": "DECISION FRAMEWORK",
    "AGENTS.md": "OTHER AGENTS",
}

WORKSPACE = """The workspace is your working directory; give paths relative to it. It is a git \
repository that the platform keeps: whatever you leave in it is committed when this step succeeds, \
so do not commit yourself, and `git log` and `git diff` show what came before.
You start without memory of earlier steps. What you know of them is in this prompt and in the \
workspace; look before you change anything, and check what you made before you hand over.
Commands run in a sandbox that ends with the step."""

WITH_TOOLS = """The step is over when you call `complete` or `fail`; the first such call counts \
and nothing you do afterwards is seen.
Call `complete` once the work is done and checked, with every output listed below under its exact \
key. Values are texts. Those who come next see your outputs and the workspace, not this \
conversation, so an output must say by itself what they need.
Call `fail` when the work cannot be done as asked: say what stands in the way and what you tried. \
An honest failure is worth more than a result that only looks done.
For example: complete(outputs={example}, summary="what was done, in a sentence")"""

AS_EXECUTOR = """You carry out one order, alone, and nobody can be asked. It is over when you \
call `executor_complete` or `executor_fail`; the first such call counts and nothing you do \
afterwards is seen.
Call `executor_complete` once the work is done and checked. Say with `status` success that all of \
it is, with partial what is left and why; with `deviations` where you left the order. Whoever gave \
the order sees your report and the files, not this conversation. The platform commits what you \
leave and adds which files that were.
Call `executor_fail` when the order cannot be carried out: say what stands in the way and what you \
tried. For example: executor_complete(status="success", summary="what was done, in a sentence")"""

DEVIATIONS = """An order cannot foresee everything. Where it does not fit what you find:
- A fault in something you wrote yourself: mend it on the spot.
- A check or a guard that is plainly missing where your work is: add it, and say so.
- Something small that keeps you from going on (a missing folder, import or setting): put it right \
in the least way that works, and say so.
- A choice that shapes more than this order (another structure, another library, a change to data \
or to what others call): do not make it. Stop and report it in `blocked_by`.
- At most three attempts at the same problem; then report what you tried and what you saw.
- Nothing beyond the order, however tempting: what you notice on the way goes into your report."""

WITH_SHAPE = "Answer with one JSON value of the shape `{name}` and nothing around it."
SMALL = "You help a team that builds software. You write short, concrete notes about the task."
WITHOUT_TOOLS = "Answer with one JSON object that has exactly these keys. Be brief and concrete."

LEFT_OUT = """These branches contradict the others in the files named; the workspace lacks them. \
`git show <commit>:<file>` shows what they have; bring together what your order needs."""

AGAIN = """This step was tried before and not accepted. Mend the cause named here; the workspace \
still holds what earlier attempts left."""


@dataclass(frozen=True)
class Brief:
    """Everything one execution of a step is told.

    `files` maps the names of the agent's files to their texts; `outputs` are those of earlier
    steps, the newest last; `git_log` has one line a commit, the newest first; `left_out` names
    branches that could not be merged into the workspace, `rules` say when an executor may leave
    its order, `skills` which ways of working it can look up, `inbox` what others left for it;
    `small` asks for a prompt of at most about 1,500 tokens.
    """

    run_id: str
    step: StepSpec
    definition: Definition
    task: str
    input: str
    files: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    feedback: tuple[str, ...] = ()
    human_note: str = ""
    loop: LoopView | None = None
    git_log: tuple[str, ...] = ()
    progress: str = ""
    left_out: tuple[str, ...] = ()
    rules: str = ""
    visit: int = 1
    retry: int = 0
    execution: int = 1
    tools: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    skills: str = ""
    inbox: tuple[str, ...] = ()
    small: bool = False

    @property
    def first_line(self) -> str:
        return (
            f"Run {self.run_id} · step {self.step.id} · visit {self.visit} · "
            f"retry {self.retry} · execution {self.execution}"
        )


def assemble(brief: Brief) -> tuple[Message, Message]:
    """The system's and the user's message that open the conversation."""
    system = SMALL if brief.small else _system(brief)
    user = _small_user(brief) if brief.small else _user(brief)
    return Message("system", (Text(system),)), Message("user", (Text(user),))


def _system(brief: Brief) -> str:
    """Stable for an agent and a step, so that providers can cache it."""
    files = [(title, bounded(_file(brief, name), AGENT_FILE)) for name, title in FILES.items()]
    sections = [
        *files[:1],
        ("YOUR PART HERE", brief.definition.agent(brief.step.agent).persona or ""),
        *files[1:],
        ("ENVIRONMENT", _environment(brief)),
        ("FINISHING", _finishing(brief)),
        ("WHEN THE ORDER DOES NOT FIT", _deviations(brief)),
        ("SKILLS", brief.skills),
    ]
    return joined(sections)


def _user(brief: Brief) -> str:
    sections = [
        ("Project Context", _context(brief)),
        ("Previous Step Outputs", _outputs(brief, OUTPUTS)),
        ("Feedback on earlier attempts", _feedback(brief, FEEDBACK)),
        ("Note from a person", bounded(brief.human_note, NOTE)),
        ("Inbox", bounded("\n\n".join(brief.inbox), INBOX)),
        ("Workspace history", "\n".join(brief.git_log[:COMMITS])),
        ("Work that is missing", _left_out(brief)),
        ("Your Task", bounded(brief.input, INPUT)),
        ("Loop Context", _loop(brief, ITEM)),
    ]
    return f"{brief.first_line}\n\n{joined(sections)}"


def _small_user(brief: Brief) -> str:
    """Few plain sentences: of anything longer a very small model copies pieces."""
    outputs = [key.replace("_", " ") for key in declared_outputs(brief.step)]
    latest = [pair for pair in brief.outputs.items() if not pair[0].startswith("_")][-1:]
    lines = [
        f"The task: {bounded(brief.task, 1_000)}",
        f"The part to do now: {bounded(brief.loop.item, 400)}" if brief.loop else "",
        *(f"The {key.replace('_', ' ')} so far: {bounded(text, 400)}" for key, text in latest),
        f"A note: {bounded(brief.human_note, 300)}" if brief.human_note else "",
        *(f"Last time: {bounded(line, 300)}" for line in brief.feedback[-1:]),
        f"Your part: {brief.step.description or brief.step.id}."
        f" Write the {' and the '.join(outputs) or 'result'}, each in one or two plain sentences"
        " about the task.",
    ]
    return "\n".join(line for line in lines if line)


def joined(sections: Iterable[tuple[str, str]]) -> str:
    """The sections that say something, each under its heading."""
    said = [(title, text.strip()) for title, text in sections]
    return "\n\n".join(f"# {title}\n{text}" for title, text in said if text)


def _file(brief: Brief, name: str) -> str:
    """One of the agent's files; without an identity, a sentence that names the agent."""
    text = brief.files.get(name, "").strip()
    if text or name != "IDENTITY.md":
        return text
    agent = brief.definition.agent(brief.step.agent)
    return f"You are {agent.name}, a member of the team that works on this project."


def _environment(brief: Brief) -> str:
    if brief.step.output_schema or not brief.tools:
        return "\n".join(brief.environment)
    return "\n".join([WORKSPACE, f"Your tools: {', '.join(brief.tools)}.", *brief.environment])


def _finishing(brief: Brief) -> str:
    listed = lines(brief.step, brief.definition)
    return "\n".join(
        [_how_to_finish(brief, listed), "Outputs to hand over:", *(listed or ["none"])]
    )


def _how_to_finish(brief: Brief, listed: list[str]) -> str:
    if brief.step.output_schema:
        return WITH_SHAPE.format(name=brief.step.output_schema.name)
    if not brief.tools:
        return WITHOUT_TOOLS
    if _is_executor(brief):
        return AS_EXECUTOR
    keys = [line.removeprefix("- ").partition(":")[0] for line in listed]
    example = ", ".join(f'"{key}": "..."' for key in keys)
    return WITH_TOOLS.format(example=f"{{{example}}}")


def _left_out(brief: Brief) -> str:
    if not brief.left_out:
        return ""
    return "\n".join([LEFT_OUT, *(f"- {bounded(line, 1_000)}" for line in brief.left_out)])


def _deviations(brief: Brief) -> str:
    """The usual rules of executors and those that came with the order, which win."""
    if not _is_executor(brief):
        return ""
    if not brief.rules.strip():
        return DEVIATIONS
    own = bounded(brief.rules.strip(), RULES)
    return f"{DEVIATIONS}\nWhoever gave the order adds, and this goes first:\n{own}"


def _is_executor(brief: Brief) -> bool:
    return "executor_complete" in brief.tools


def _context(brief: Brief) -> str:
    """The run's task, unless the step's own already quotes it, and what was done so far."""
    task = "" if brief.task in brief.input else f"The run's task: {bounded(brief.task, TASK)}"
    return "\n\n".join(filter(None, [task, bounded(brief.progress, PROGRESS)]))


def _outputs(brief: Brief, budget: int) -> str:
    """Earlier outputs, newest first, without those the task quotes and those for the record."""
    shown: list[str] = []
    fresh = [
        f"{key}: {bounded(value, min(ONE_OUTPUT, budget))}"
        for key, value in reversed(list(brief.outputs.items()))
        if value and not key.startswith("_") and not _quoted(value, brief)
    ]
    for line in fresh:
        budget -= len(line)
        if budget < 0:
            shown.append(f"[{len(fresh) - len(shown)} older outputs left out]")
            break
        shown.append(line)
    return "\n".join(shown)


def _quoted(value: str, brief: Brief) -> bool:
    """Whether the task contains the value as it is; a word or two may stand there by chance."""
    return len(value) > BY_CHANCE and value in brief.input


def _feedback(brief: Brief, budget: int) -> str:
    if not brief.feedback:
        return ""
    return "\n".join([AGAIN, *(bounded(line, budget // 3) for line in brief.feedback[-3:])])


def _loop(brief: Brief, budget: int) -> str:
    loop = brief.loop
    if loop is None:
        return ""
    told = [f"Item {loop.index + 1} of {loop.total}: {bounded(loop.item, budget)}"]
    if loop.completed:
        done = "\n".join(f"- {bounded(item, 300)}" for item in loop.completed)
        told.append(f"Completed before it:\n{bounded(done, min(COMPLETED, budget))}")
    return "\n".join(told)
