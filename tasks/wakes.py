"""Waking agents: by another agent, or because a task has come to where they look after it."""

from __future__ import annotations

from models import accounts, activities, budgets, events, policies, stages
from models.agents import Agent
from models.base import db
from models.board import Task
from models.projects import ACTIVE, Project, ProjectAgent
from models.runs import Run
from models.wakes import BOARD, Wake
from tasks import inbox, occasions
from tasks.runs import move_on

DONE = "{to} is awake now, in a session of its own ({run}); your message is in its inbox."
HELD_BACK = "{to} was not woken: {why}. Your message waits in its inbox for its next session."


def wake(run: Run, sender: Wake, message: str) -> str:
    """Wake an agent with a message, as far as the guardrails let it; says what came of it.

    Called in the transaction of the sender, whose run it is; the message is delivered either way.
    """
    letter = inbox.send(run, sender.source, sender.target, message)
    agent = Agent.get_by_id(sender.target)
    sender.owner_id = run.owner_id
    if not sender.decide(agent, run.deep):
        return HELD_BACK.format(to=agent.id, why=sender.suppressed)
    why = f"{sender.source} woke you ({sender.reason.replace('_', ' ')}): see your inbox."
    woken = occasions.wake(agent, why, run.owner_id, run.project_id)
    woken.parent_id = run.id
    _begin(sender, woken)
    letter.put(carried_by=woken.id)
    return DONE.format(to=agent.id, run=woken.id)


def answer_board(agent_id: str, task_id: str, act: str) -> Run | None:
    """Wake the agent that looks after what a task has come to, if it is on the project's crew.

    Nobody is woken for what somebody works on, or that has moved on meanwhile.
    """
    with db.atomic():
        task = Task.find(task_id)
        agent = Agent.find(agent_id)
        project = Project.find(task.project_id) if task else None
        if task is None or agent is None or project is None or not _calls(project, agent_id, task):
            return None
        asked = Wake(target=agent_id, source=project.id, reason=BOARD, act=act)
        asked.id, asked.owner_id = Wake.id.default(), project.owner_id
        if not asked.decide(agent):
            return None
        why = (
            f"Task {task.title!r} ({task.id}) of project {project.name!r} ({project.id}) is"
            f" {task.status} now, which is yours to look after."
        )
        run = occasions.wake(agent, why, project.owner_id, project.id)
        _begin(asked, run)
    return run


def _calls(project: Project, agent_id: str, task: Task) -> bool:
    crew = (ProjectAgent.project == project.id) & (ProjectAgent.agent_id == agent_id)
    free = task.run_id is None and project.state == ACTIVE
    free = free and accounts.is_open(project.owner_id) and _looked_after(task) == agent_id
    return free and bool(ProjectAgent.select().where(crew).exists())


def _looked_after(task: Task) -> str | None:
    """The agent that looks after what the task has come to by now."""
    policy = policies.of_project(task.project_id)
    rules = stages.rules_for(policy, task.work_type) if policy else []
    return stages.agent_for(rules, task.status, task.work_type)


def _begin(asked: Wake, run: Run) -> None:
    run.add()
    budgets.limit(run, budgets.limits_of(budgets.usual()))
    run.record(("run_created", {"pipelineId": run.pipeline_id, "taskDescription": run.task}))
    asked.put(run_id=run.id)
    about = {"wokenBy": asked.source, "reason": asked.reason}
    activities.note(asked.target, run.owner_id, run.id, ("woken", about))
    told = {"agentId": asked.target, "runId": run.id, "source": "wake", **about}
    events.announce(run.owner_id, ("pulse_triggered", told), project_id=run.project_id)
    move_on(run)
