"""The rules by which a store that several processes share grants permits, as a pure function. All times are in µs.

``FileQuotas`` uses this function; in Redis, the same rules are the script ``grant_permits.lua``. A test compares the
replies of both.

A permit that is free is granted at once. One that has not returned yet is granted ahead of time, with the moment from
which it may be used. So processes use permits in the order of their requests, and need not ask again.
"""

import bisect
from math import ceil, floor

import attrs

from volc_moderation.quotas.adaptive import GROWTH_PER_WINDOW, LEARNING_PER_WINDOW, SHRINK_FACTOR
from volc_moderation.quotas.exchange import ExchangeReply, ExchangeRequest
from volc_moderation.quotas.window import MAX_BURST, PACE_COST, PACED_FROM

#: The size of what identifies a process, and of the number of one of its permits.
PROCESS_BITS = 31
NUMBER_BITS = 32


@attrs.define(kw_only=True)
class SharedState:
    """What a store keeps of one quota."""

    #: Identifies the store's data.
    generation: int
    #: The time of the last exchange: the clock of a quota never goes back.
    clock: int = 0
    #: No permit is granted before this.
    resume: int = 0
    #: When the pace allows the next permit.
    pace: float = 0.0
    #: Calls per window that are used at present; None means the limit.
    effective: float | None = None
    #: When ``effective`` was computed, and when it last shrank.
    as_of: int = 0
    shrunk: int = 0
    #: Permits in flight, by ``permit_id``: when they return if their process stays silent.
    held: dict[int, int] = attrs.field(factory=dict)
    #: Permits whose requests were answered: when the vendor no longer counts them, and their credits; in order.
    back: list[tuple[int, int]] = attrs.field(factory=list)
    #: Processes that got fewer permits than they wanted, in the order in which they first asked.
    line: list[int] = attrs.field(factory=list)
    #: Processes in which calls wait: when they last said so, and their weights.
    seen: dict[int, tuple[int, int]] = attrs.field(factory=dict)


def permit_id(process: int, number: int) -> int:
    """Return the identity of a permit. When a number repeats, the permit that had it before has long returned."""
    return process << NUMBER_BITS | number & (1 << NUMBER_BITS) - 1


def grant_permits(state: SharedState, request: ExchangeRequest, now: int) -> tuple[SharedState, ExchangeReply]:
    """Return the state after an exchange at ``now``, and the reply."""
    rules = request.rules
    now = max(now, state.clock)
    state = SharedState(
        generation=state.generation,
        clock=now,
        resume=min(state.resume, now + rules.forget),
        pace=min(state.pace, now + 2 * rules.window),
        effective=state.effective,
        as_of=min(state.as_of or now, now),
        shrunk=min(state.shrunk, now),
        held=dict(state.held),
        back=list(state.back),
        line=list(state.line),
        seen=dict(state.seen),
    )
    # If permits were lost, none is granted until the vendor no longer counts their requests.
    if request.was_away or request.generation not in {None, state.generation}:
        state.resume = now + rules.forget
    _take_back(state, request)
    quota = _adapt(state, request)
    others = _weigh(state, request)
    ahead = _processes_ahead(state, request)
    delays, is_short = _grant(state, request, quota, ahead)
    if request.process in state.line and (delays or not request.want):
        state.line.remove(request.process)
    if is_short and request.process not in state.line:
        state.line.append(request.process)
    reply = ExchangeReply(
        generation=state.generation,
        now=now,
        effective=quota,
        permits_out=len(state.held) + len(state.back),
        wait=max(0, _wait(state, request, is_short=is_short)),
        others=others,
        delays=tuple(delays),
    )
    return state, reply


def _take_back(state: SharedState, request: ExchangeRequest) -> None:
    """Take the permits that return, renew those in flight, and drop those that are free."""
    rules, now = request.rules, state.clock
    for number, after, credit in request.returns:
        state.held.pop(permit_id(request.process, number), None)
        if after > 0:
            bisect.insort(state.back, (now + min(after, rules.window + rules.forget), credit))
    for number in request.renew:
        state.held[permit_id(request.process, number)] = now + rules.lease
    if state.held and min(state.held.values()) <= now:
        state.held = {permit: at for permit, at in state.held.items() if at > now}
    del state.back[: bisect.bisect_right(state.back, now, key=lambda answered: answered[0])]


def _adapt(state: SharedState, request: ExchangeRequest) -> int:
    """Return how much of the quota is used, by the rules of ``adaptive.py``."""
    rules, now = request.rules, state.clock
    effective = max(1.0, rules.limit if state.effective is None else state.effective)
    if rules.published:
        growth = GROWTH_PER_WINDOW * rules.limit * (now - state.as_of) / rules.window
        effective = min(rules.limit, effective + growth)
    state.as_of = now
    if request.throttled and now >= state.shrunk + rules.window:
        effective = max(1.0, SHRINK_FACTOR * effective)
        state.shrunk = now
    state.effective = effective
    return floor(effective)


def _weigh(state: SharedState, request: ExchangeRequest) -> int:
    """Record how many calls wait in this process; return how many wait in the others."""
    state.seen.pop(request.process, None)
    since = state.clock - request.rules.silence
    state.seen = {process: (at, weight) for process, (at, weight) in state.seen.items() if at > since}
    others = sum(weight for _, weight in state.seen.values())
    if request.weight:
        state.seen[request.process] = state.clock, request.weight
    return others


def _processes_ahead(state: SharedState, request: ExchangeRequest) -> int:
    """Return how many processes are ahead of this one in line: one permit is left to each of them.

    A process that got fewer permits than it wanted stays in line as long as it keeps asking.
    """
    if not request.want:
        return 0
    end = state.line.index(request.process) if request.process in state.line else len(state.line)
    before = [process for process in state.line[:end] if process in state.seen]
    state.line[:end] = before
    return len(before)


def _grant(state: SharedState, request: ExchangeRequest, quota: int, ahead: int) -> tuple[list[int], bool]:
    """Grant the free permits, then those that return next.

    Return the spans until they may be used, and whether there were too few of them.
    """
    rules, now = request.rules, state.clock
    pace_step = PACE_COST * rules.window / quota
    delays: list[int] = []
    prefetched = 0
    while len(delays) < request.want:
        used = len(state.held) + len(state.back)
        # The permits before this one return earlier, but exceed the quota or are left to other processes.
        index = used - quota + ahead
        if now < state.resume or index >= len(state.back):
            return delays, True
        start = now
        if index >= 0:
            at, credit = state.back[index]
            start = max(now, at - min(request.credit, credit))
        is_paced = quota > MAX_BURST and used >= PACED_FROM * quota
        if is_paced:
            start = ceil(max(start, state.pace - (MAX_BURST - 1) * pace_step))
        if start > now:
            if prefetched == request.prefetch:
                break
            prefetched += 1
        if is_paced:
            state.pace = max(state.pace, start) + pace_step
        if index >= 0:
            del state.back[index]
            if not rules.published:
                effective = state.effective or rules.limit
                state.effective = effective + LEARNING_PER_WINDOW * rules.limit / effective
        state.held[permit_id(request.process, request.number + len(delays))] = start + rules.lease
        delays.append(start - now)
    return delays, False


def _wait(state: SharedState, request: ExchangeRequest, *, is_short: bool) -> int:
    """Return the span until to ask again: a permit in flight returns a window after it was granted, or later."""
    if state.clock < state.resume:
        return state.resume - state.clock
    if not is_short or not state.held:
        return 0
    first = min(state.held.values())
    return first - request.rules.lease + request.rules.window - request.credit - state.clock
