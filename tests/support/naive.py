"""The state of a log by an own, slow account: what readers of a projection must find."""

from __future__ import annotations

from dataclasses import replace

from memfold.fold import apply, evolve
from memfold.state import State, ThreadKey
from memfold.wire import Event, Recorded, read_message
from memfold_projections.views import Activity, thread_json
from support.log import NAMESPACE


def pure_fold(log: list[Recorded]) -> State:
    return pure_fold_and_times(log)[0]


def pure_fold_and_times(log: list[Recorded]) -> tuple[State, dict[ThreadKey, int]]:
    """Return the state, and by an own account when each thread or its messages last changed."""
    state = State()
    changed: dict[ThreadKey, int] = {}
    time_us = 0
    for message in log:
        time_us = max(time_us, message.time_ns // 1000)
        for event in read_message(NAMESPACE, message, time_us=time_us):
            step = evolve(state, event)
            address = event.address
            known = None
            if address is not None and address.resource and address.thread:
                key = (address.resource, address.thread)
                known = state.threads.get(key)
                begins = known is None or not known.live
                archives = isinstance(event, Event) and "rchived" in event.envelope.type
                counts = begins or address.facet in {"messages", "thread"}
                if step.outcome.kind == "applied" and not archives and counts:
                    changed[key] = event.time_us
            apply(state, step)
    return state, changed


def threads_shown(state: State, changed: dict[ThreadKey, int]) -> dict[ThreadKey, bytes]:
    """Return each thread as readers see it; ``changed`` is that of ``pure_fold_and_times``."""
    newest: dict[ThreadKey, int] = {}
    for (resource, thread, _), message in state.messages.items():
        key = (resource, thread)
        newest[key] = max(newest.get(key, message.created_at_us), message.created_at_us)
    return {
        key: thread_json(
            *key,
            replace(thread, updated_at_us=changed.get(key, 0)),
            Activity(newest.get(key), 0),
        )
        for key, thread in state.threads.items()
    }
