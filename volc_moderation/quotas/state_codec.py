"""The stored form of a quota's state, as ``FileQuotas`` keeps it: a fixed part, and lists of 64-bit numbers. Pure."""

import struct
from functools import cache
from itertools import chain

from volc_moderation.quotas.grant_permits import SharedState

#: The generation, four times, the pace, the limit in use, and the lengths of the four parts with numbers. The bytes
#: have the machine's order: the processes of one machine share it.
_FIXED = struct.Struct("=Qqqqqdd4I")
#: Numbers per entry of these parts: permits in flight, answered permits, processes in line, and those where calls wait.
_WIDTHS = (2, 2, 1, 3)
#: Stands for the limit in use of a quota that nobody has used yet.
_UNUSED = 0.0


def dump_state(state: SharedState) -> bytes:
    """Return the stored form of a state."""
    held, back, line, seen = state.held, state.back, state.line, state.seen
    effective = _UNUSED if state.effective is None else state.effective
    lengths = len(held), len(back), len(line), len(seen)
    times = state.clock, state.resume, state.as_of, state.shrunk
    return _FIXED.pack(state.generation, *times, state.pace, effective, *lengths) + _numbers(_count(lengths)).pack(
        *held, *held.values(), *chain.from_iterable(back), *line, *seen, *chain.from_iterable(seen.values())
    )


def load_state(content: bytes) -> SharedState:
    """Return the state of a stored form. Raises ``ValueError`` if it is none."""
    try:
        generation, clock, resume, as_of, shrunk, pace, effective, *lengths = _FIXED.unpack_from(content)
        count = _count(lengths)
        if len(content) != _FIXED.size + 8 * count:
            raise ValueError("the length does not fit")
        numbers = _numbers(count).unpack_from(content, _FIXED.size)
    except struct.error as error:
        raise ValueError(str(error)) from None
    held, back, line, seen = lengths
    back_from = 2 * held
    line_from = back_from + 2 * back
    seen_from = line_from + line
    return SharedState(
        generation=generation,
        clock=clock,
        resume=resume,
        as_of=as_of,
        shrunk=shrunk,
        pace=pace,
        effective=None if effective == _UNUSED else effective,
        held=dict(zip(numbers[:held], numbers[held:back_from], strict=True)),
        back=list(zip(numbers[back_from:line_from:2], numbers[back_from + 1 : line_from : 2], strict=True)),
        line=list(numbers[line_from:seen_from]),
        seen=dict(
            zip(
                numbers[seen_from : seen_from + seen],
                zip(numbers[seen_from + seen :: 2], numbers[seen_from + seen + 1 :: 2], strict=True),
                strict=True,
            )
        ),
    )


def _count(lengths: "list[int] | tuple[int, ...]") -> int:
    return sum(length * width for length, width in zip(lengths, _WIDTHS, strict=True))


@cache
def _numbers(count: int) -> struct.Struct:
    return struct.Struct(f"={count}q")
