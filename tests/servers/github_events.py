"""Webhook payloads in GitHub's shapes (docs.github.com/webhooks/webhook-events-and-payloads)."""

from __future__ import annotations

from typing import Any

from tests.servers.github import APP_ID, INSTALLATION, SLUG

URL = "https://github.com/acme/todo"
FULL_NAME = "acme/todo"


def user(login: str, kind: str = "User") -> dict[str, Any]:
    return {
        "login": login,
        "id": sum(login.encode()),
        "node_id": "MDQ6VXNlcjE=",
        "avatar_url": f"https://avatars.githubusercontent.com/{login}",
        "html_url": f"https://github.com/{login}",
        "type": kind,
        "site_admin": False,
    }


def repository(full_name: str = FULL_NAME) -> dict[str, Any]:
    owner, _, name = full_name.partition("/")
    return {
        "id": 1296269042,
        "node_id": "R_kgDOTest",
        "name": name,
        "full_name": full_name,
        "private": True,
        "owner": user(owner, "Organization"),
        "html_url": f"https://github.com/{full_name}",
        "description": None,
        "fork": False,
        "url": f"https://api.github.com/repos/{full_name}",
        "default_branch": "main",
    }


def common(sender: str = "octocat", kind: str = "User", full_name: str = FULL_NAME) -> dict:
    return {
        "repository": repository(full_name),
        "organization": {"login": "acme", "id": 9, "description": ""},
        "sender": user(sender, kind),
        "installation": {"id": INSTALLATION, "node_id": "MDIzOkludGVncmF0aW9u"},
    }


def label(name: str) -> dict[str, Any]:
    return {"id": 208045946, "name": name, "color": "d73a4a", "default": False, "description": ""}


def issue(**more: Any) -> dict[str, Any]:
    return {
        "id": 73464126,
        "number": 12,
        "title": "The login forgets me",
        "user": user("octocat"),
        "labels": [],
        "state": "open",
        "locked": False,
        "assignees": [],
        "comments": 0,
        "created_at": "2026-11-20T10:00:00Z",
        "updated_at": "2026-11-20T10:00:00Z",
        "author_association": "MEMBER",
        "body": "After a minute I have to log in again.",
        "html_url": f"{URL}/issues/12",
        **more,
    }


def issues(action: str = "opened", added: str | None = None, **more: Any) -> dict[str, Any]:
    told = {"action": action, "issue": issue(**more), **common()}
    return told | {"label": label(added)} if added else told


def issue_comment(body: str, association: str = "MEMBER", **who: Any) -> dict[str, Any]:
    comment = {
        "id": 99262140,
        "html_url": f"{URL}/issues/12#issuecomment-99262140",
        "user": user(who.get("sender", "octocat")),
        "created_at": "2026-11-20T10:05:00Z",
        "updated_at": "2026-11-20T10:05:00Z",
        "author_association": association,
        "body": body,
    }
    return {"action": "created", "issue": issue(), "comment": comment, **common(**who)}


def pull_request(action: str = "opened", **more: Any) -> dict[str, Any]:
    request = {
        "id": 191568743,
        "number": 7,
        "state": "closed" if action == "closed" else "open",
        "locked": False,
        "title": "Remember who logged in",
        "user": user("octocat"),
        "body": "Closes #12",
        "labels": [],
        "draft": False,
        "merged": False,
        "merged_at": None,
        "merge_commit_sha": None,
        "head": {"ref": "feat/issue-12-login", "sha": "e5bd3914", "repo": repository()},
        "base": {"ref": "main", "sha": "f95f8524", "repo": repository()},
        "author_association": "MEMBER",
        "commits": 1,
        "changed_files": 4,
        "html_url": f"{URL}/pull/7",
        **more,
    }
    return {"action": action, "number": 7, "pull_request": request, **common()}


def merged() -> dict[str, Any]:
    when = {"merged_at": "2026-11-21T09:30:00Z", "merge_commit_sha": "d0ff"}
    return pull_request("closed", merged=True, **when)


def review(body: str | None, state: str = "commented") -> dict[str, Any]:
    told = {
        "id": 237895671,
        "user": user("hubot-reads"),
        "body": body,
        "commit_id": "e5bd3914",
        "submitted_at": "2026-11-21T09:00:00Z",
        "state": state,
        "html_url": f"{URL}/pull/7#pullrequestreview-237895671",
        "author_association": "COLLABORATOR",
    }
    request = pull_request()["pull_request"]
    return {"action": "submitted", "review": told, "pull_request": request, **common()}


def push(*paths: str) -> dict[str, Any]:
    commit = {
        "id": "b7a1f9c2",
        "message": "Keep the session",
        "timestamp": "2026-11-20T11:00:00+01:00",
        "author": {"name": "Octo", "email": "octo@acme.example", "username": "octocat"},
        "added": [],
        "removed": [],
        "modified": list(paths),
    }
    return {
        "ref": "refs/heads/main",
        "before": "0" * 40,
        "after": "b7a1f9c2",
        "created": False,
        "deleted": False,
        "forced": False,
        "compare": f"{URL}/compare/0...b7a1f9c2",
        "commits": [commit],
        "head_commit": commit,
        "pusher": {"name": "octocat", "email": "octo@acme.example"},
        **common(),
    }


def installation(action: str = "deleted") -> dict[str, Any]:
    told = {
        "id": INSTALLATION,
        "account": user("acme", "Organization"),
        "repository_selection": "selected",
        "access_tokens_url": f"https://api.github.com/app/installations/{INSTALLATION}/access_tokens",
        "html_url": f"https://github.com/organizations/acme/settings/installations/{INSTALLATION}",
        "app_id": int(APP_ID),
        "app_slug": SLUG,
        "target_type": "Organization",
        "permissions": {"issues": "write", "contents": "write", "metadata": "read"},
        "events": ["issues", "push"],
        "created_at": 1763900000,
        "updated_at": 1763900000,
        "suspended_at": None,
    }
    short = {"id": 1296269042, "node_id": "R_kgDOTest", "name": "todo", "full_name": FULL_NAME}
    listed = [{**short, "private": True}]
    return {"action": action, "installation": told, "repositories": listed, "sender": user("boss")}


def installation_repositories(*removed: str) -> dict[str, Any]:
    gone = [
        {
            "id": 1,
            "node_id": "R_",
            "name": name.partition("/")[2],
            "full_name": name,
            "private": True,
        }
        for name in removed
    ]
    return {
        "action": "removed",
        "installation": installation()["installation"],
        "repository_selection": "selected",
        "repositories_added": [],
        "repositories_removed": gone,
        "requester": None,
        "sender": user("boss"),
    }


def check_run(action: str = "completed", conclusion: str = "failure") -> dict[str, Any]:
    run = {
        "id": 128620228,
        "head_sha": "e5bd3914",
        "external_id": "",
        "url": "https://api.github.com/repos/acme/todo/check-runs/128620228",
        "html_url": f"{URL}/runs/128620228",
        "status": "completed",
        "conclusion": conclusion,
        "started_at": "2026-11-21T09:10:00Z",
        "completed_at": "2026-11-21T09:12:00Z",
        "output": {"title": None, "summary": None, "text": None, "annotations_count": 0},
        "name": "tests",
        "check_suite": {"id": 118578147, "head_branch": "main", "head_sha": "e5bd3914"},
        "app": {"id": 29310, "slug": "ci", "name": "CI"},
        "pull_requests": [],
    }
    return {"action": action, "check_run": run, **common("ci[bot]", "Bot")}


def ping() -> dict[str, Any]:
    hook = {
        "type": "App",
        "id": 109948940,
        "name": "web",
        "active": True,
        "events": ["issues"],
        "config": {"content_type": "json", "insecure_ssl": "0", "url": "https://djinn.example"},
        "app_id": int(APP_ID),
    }
    return {"zen": "Keep it logically awesome.", "hook_id": 109948940, "hook": hook}
