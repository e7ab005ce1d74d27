"""The table of faults: what each is called, what it does, and what it has to itself meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.processes.chaos import faults_stores as stores
from tests.processes.chaos import faults_web as web
from tests.processes.chaos import faults_workers as workers
from tests.processes.chaos.scenery import Scenery

Act = Callable[[Scenery, random.Random], str]


@dataclass(frozen=True)
class Fault:
    """One kind of fault; no two that need the same things strike at once."""

    act: Act
    needs: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return (self.act.__doc__ or "").partition(": ")[2].rstrip(".")


FAULTS: dict[str, Fault] = {
    "F01": Fault(workers.kill_in_model_call),
    "F02": Fault(workers.kill_after_act, ("sink",)),
    "F03": Fault(workers.kill_after_seal),
    "F04": Fault(workers.kill_all_workers),
    "F05": Fault(workers.freeze),
    "F06": Fault(workers.poison),
    "F07": Fault(workers.retire),
    "F08": Fault(stores.kill_redis, ("redis",)),
    "F09": Fault(stores.empty_redis, ("redis",)),
    "F10": Fault(stores.fill_redis, ("redis",)),
    "F11a": Fault(stores.readonly_redis, ("redis",)),
    "F11b": Fault(stores.silent_redis, ("redis", "postgres")),
    "F12": Fault(stores.crash_postgres, ("postgres",)),
    "F13a": Fault(stores.end_sessions, ("postgres",)),
    "F13b": Fault(stores.exhaust_connections, ("postgres",)),
    "F14": Fault(stores.lock_runs, ("postgres",)),
    "F15": Fault(web.kill_before_answer, ("postgres",)),
    "F16a": Fault(web.kill_before_bell, ("postgres",)),
    "F16b": Fault(web.kill_clock),
    "F17": Fault(web.cut_streams, ("streams",)),
    "F21": Fault(stores.trouble_model, ("model",)),
    "F22": Fault(workers.wrong_clock, ("clock",)),
    "F23a": Fault(stores.fill_disk, ("disk",)),
    "F23b": Fault(stores.lose_folder, ("disk",)),
    "F23c": Fault(stores.fill_log_disk, ("redis",)),
}
