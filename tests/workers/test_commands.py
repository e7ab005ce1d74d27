"""What operators do with the vault and the audit log, on a database of theirs."""

from __future__ import annotations

import pytest

from models import audit, passwords
from models.accounts import User
from models.base import db
from models.invariants import INVARIANTS
from models.mail import EmailSettings
from tests.conftest import VAULT_KEYS
from tests.models.test_audit import note, untied
from tests.models.test_invariants import SWARM
from tests.workers.test_cli import djinn

pytestmark = pytest.mark.slow
NEW = f"new:{'0e' * 32}"


@pytest.fixture
def theirs(database: str, session_settings: object) -> dict[str, str]:
    """The environment of an operator, who has two secrets."""
    with db.connection_context():
        for row in (User.get_by_id("usr_owner"), EmailSettings()):
            row.lock_up(**dict.fromkeys(row.sealed_columns(), "a canary"))
            row.save(force_insert=isinstance(row, EmailSettings))
    return {"DATABASE_URL": database, "SECRET_ENCRYPTION_KEYS": VAULT_KEYS}


def test_keys_are_turned_and_the_old_one_may_go(theirs: dict[str, str]):
    both = theirs | {"SECRET_ENCRYPTION_KEYS": f"{NEW},{VAULT_KEYS}"}
    before = djinn("vault", "status", **both)
    assert "key new (seals): 0 secrets" in before.stderr
    assert "key tests (opens): 2 secrets" in before.stderr
    done = djinn("vault", "rotate", **both)
    assert (done.returncode, done.stderr) == (
        0,
        "djinn: 2 secrets sealed anew, 0 do not open\n",
    )
    alone = djinn("vault", "status", **theirs | {"SECRET_ENCRYPTION_KEYS": NEW})
    assert (alone.returncode, alone.stderr) == (0, "djinn: key new (seals): 2 secrets\n")


def test_what_does_not_open_is_named_and_stays(theirs: dict[str, str]):
    other = theirs | {"SECRET_ENCRYPTION_KEYS": NEW}
    lost = djinn("vault", "rotate", **other)
    assert lost.returncode == 1
    assert "lost: users:totp_secret:usr_owner" in lost.stderr
    assert "lost: email_settings:smtp_password:default" in lost.stderr
    status = djinn("vault", "status", **other)
    assert status.returncode == 1
    assert "key tests (not in the ring): 2 secrets" in status.stderr
    seen = djinn("doctor", **other)
    assert "2 secrets wait for key tests" in seen.stdout
    assert "put that key back" in seen.stdout
    assert "a canary" not in "".join((lost.stderr, status.stderr, seen.stdout))
    assert djinn("vault", "rotate", **theirs).returncode == 0


def test_one_flipped_byte_in_the_audit_log_is_found(theirs: dict[str, str]):
    for number in range(4):
        note(number)
    with db.connection_context():
        head = audit.verify().head
    fine = djinn("audit", "verify", "--head", head, **theirs)
    assert (fine.returncode, head in fine.stderr) == (0, True)
    unknown = djinn("audit", "verify", "--head", "ab" * 32, **theirs)
    assert unknown.returncode == 1
    assert "no entry has the digest" in unknown.stderr
    with db.connection_context():
        untied("UPDATE audit_log SET actor = 'usr_annb' WHERE seq = 2")
    broken = djinn("audit", "verify", **theirs)
    assert broken.returncode == 1
    assert "entry 2 is not what it was; 1 before it hold" in broken.stderr


def test_the_doctor_says_what_nobody_could_log_in_without(theirs: dict[str, str]):
    seen = djinn("doctor", **theirs).stdout
    assert "no AUTH_SECRET_KEY and no ENGINE_INTERNAL_TOKEN" in seen
    assert "all secrets open" in seen
    without = djinn("doctor", **theirs | {"SECRET_ENCRYPTION_KEYS": "", "AUTH_ENABLED": "0"}).stdout
    assert "no SECRET_ENCRYPTION_KEYS" in without
    assert "whoever reaches this server is its admin" in without


def test_the_first_admin_is_made_without_a_browser(theirs: dict[str, str]):
    words = ("user", "create", "Ada@Example.org", "--admin")
    made = djinn(*words, said="correct horse\n", **theirs)
    assert (made.returncode, "ada@example.org has an account" in made.stderr) == (0, True)
    with db.connection_context():
        ada = User.select().where(User.email == "ada@example.org").get()
        assert (ada.is_admin, passwords.matches(ada.password_hash, "correct horse")) == (True, True)
        assert audit.Entry.select().get().actor == "system"
    again = djinn(*words, said="correct horse\n", **theirs)
    assert (again.returncode, "already" in again.stderr) == (2, True)
    assert djinn("user", "create", "ada", said="correct horse\n", **theirs).returncode == 2
    short = djinn("user", "create", "a@b", said="short\n", **theirs)
    assert (short.returncode, "at least 8" in short.stderr) == (2, True)


def test_the_doctor_names_the_row_that_is_not_as_it_must_be(theirs: dict[str, str]):
    number = len(INVARIANTS)
    fine = djinn("doctor", "--invariants", **theirs)
    assert (fine.returncode, fine.stderr) == (0, f"djinn: {number} of {number} invariants hold\n")
    with db.connection_context():
        db.execute_sql(SWARM.format(state="running", ended="NULL"))
    broken = djinn("doctor", "--invariants", **theirs)
    assert (broken.returncode, broken.stderr) == (
        1,
        "djinn: broken: a swarm ends by its deadline: swarm_1\n"
        f"djinn: {number - 1} of {number} invariants hold\n",
    )
