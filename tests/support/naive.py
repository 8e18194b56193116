"""The state of a log by an own, slow account: what readers of a projection must find."""

from __future__ import annotations

from memfold.fold import apply, evolve
from memfold.state import State, ThreadKey
from memfold.wire import Event, Recorded, read_message
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
