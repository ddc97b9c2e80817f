"""The stored form of a quota's state, as ``FileQuotas`` keeps it: a fixed part, and arrays of 64-bit numbers. Pure."""

import struct
from array import array
from itertools import chain

from volc_moderation.quotas.grant_permits import SharedState

#: The generation, four times, the pace, the limit in use, and the lengths of the four parts with arrays. All numbers
#: are in the machine's byte order: the processes of one machine share it.
_FIXED = struct.Struct("=Qqqqqdd4I")
#: Numbers per entry of these parts: permits in flight, answered permits, processes in line, when processes asked.
_WIDTHS = (3, 2, 1, 2)
#: The limit in use of a quota that nobody has used yet.
_UNUSED = 0.0


def dump_state(state: SharedState) -> bytes:
    """Return the stored form of a state."""
    parts = (state.held, state.back, state.line, state.seen)
    fixed = _FIXED.pack(
        state.generation,
        state.clock,
        state.resume,
        state.as_of,
        state.shrunk,
        state.pace,
        _UNUSED if state.effective is None else state.effective,
        *map(len, parts),
    )
    held = array("q", chain.from_iterable(state.held))
    held.extend(state.held.values())
    back = array("q", chain.from_iterable(state.back))
    rest = array("q", (*state.line, *state.seen.keys(), *state.seen.values()))
    return b"".join((fixed, held.tobytes(), back.tobytes(), rest.tobytes()))


def load_state(text: bytes) -> SharedState:
    """Return the state of a stored form. Raises ``ValueError`` if it is none."""
    try:
        generation, clock, resume, as_of, shrunk, pace, effective, *lengths = _FIXED.unpack_from(text)
    except struct.error as error:
        raise ValueError(str(error)) from None
    numbers = array("q")
    numbers.frombytes(text[_FIXED.size :])  # raises ValueError if the length is odd
    if len(numbers) != sum(length * width for length, width in zip(lengths, _WIDTHS, strict=True)):
        raise ValueError("the lengths of the parts do not fit")
    permits, answered, waiting, asking = lengths
    back_from = 3 * permits
    line_from = back_from + 2 * answered
    seen_from = line_from + waiting
    return SharedState(
        generation=generation,
        clock=clock,
        resume=resume,
        as_of=as_of,
        shrunk=shrunk,
        pace=pace,
        effective=None if effective == _UNUSED else effective,
        held=dict(
            zip(
                zip(numbers[0 : 2 * permits : 2], numbers[1 : 2 * permits : 2], strict=True),
                numbers[2 * permits : back_from],
                strict=True,
            )
        ),
        back=list(zip(numbers[back_from:line_from:2], numbers[back_from + 1 : line_from : 2], strict=True)),
        line=list(numbers[line_from:seen_from]),
        seen=dict(zip(numbers[seen_from : seen_from + asking], numbers[seen_from + asking :], strict=True)),
    )
