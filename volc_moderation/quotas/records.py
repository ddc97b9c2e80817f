"""The records of a file of quotas: small texts by digest, which are changed in place. Blocking.

A record has two slots, which are written in turn, each with a checksum. A record whose content outgrows it moves to the
end of the file.

Nothing is synced to the disk: the quotas are not needed after the machine has gone down. The caller holds the file's
lock.
"""

import errno
import os
import struct
from collections.abc import Iterator
from zlib import crc32

import attrs

#: The digest of a record, where it has moved to (0 if it has not), and the bytes of content that fit into a slot.
_RECORD = struct.Struct("=16sQQ")
#: The number of the write, until when the content is kept (in microseconds), its length, and the checksum.
_SLOT = struct.Struct("=QqII")
_CHECKED = struct.Struct("=QqI")
_OFFSET = struct.Struct("=Q")
#: Free bytes in the slots of a new record, or as many as it has content: that grows with the processes that use it.
SPARE_BYTES = 512
DIGEST_SIZE = 16  # bytes


class DamagedFileError(Exception):
    """The file has bytes that no process of ours has written, or was cut short."""


@attrs.frozen
class Record:
    """A record as it was read."""

    digest: bytes
    content: bytes
    #: Until when the record is kept, in microseconds.
    keep_until: int
    _offset: int
    _capacity: int
    write_number: int

    def slot_after(self) -> tuple[int, int]:
        """Return the number of the next write, and the offset of its slot."""
        number = self.write_number + 1
        return number, self._offset + _RECORD.size + number % 2 * (_SLOT.size + self._capacity)

    def fits(self, content: bytes) -> bool:
        """Return whether a content fits into a slot."""
        return len(content) <= self._capacity

    @property
    def moved_to_field(self) -> int:
        """The offset of the field that says where the record has moved to."""
        return self._offset + DIGEST_SIZE


class Records:
    """The records of an open file.

    :param start: the offset of the first record.
    """

    def __init__(self, fd: int, start: int) -> None:
        self._fd = fd
        #: Offset and capacity of the records that were found so far, by digest.
        self._places: dict[bytes, tuple[int, int]] = {}
        #: Where the search for others continues.
        self._searched = start

    @property
    def size(self) -> int:
        """The size of the file in bytes, as far as this process has read it."""
        return self._searched

    def read(self, digest: bytes) -> Record | None:
        """Return the record with a digest, or None if there is none. Raises ``DamagedFileError`` and ``OSError``."""
        if digest not in self._places:
            self._search()
        place = self._places.get(digest)
        while place is not None:
            offset, capacity = self._places[digest] = place
            data = self._pread(_record_size(capacity), offset)
            found, moved_to, size = _RECORD.unpack_from(data)
            if (found, size) != (digest, capacity):
                raise DamagedFileError
            if not moved_to:
                return _newest(digest, data, offset, capacity)
            if moved_to <= offset:
                raise DamagedFileError
            place = self._place(moved_to)[1:]
        return None

    def write(self, record: Record | None, digest: bytes, content: bytes, keep_until: int) -> None:
        """Write the content of a record; ``record`` is the one that ``read`` returned. Raises ``OSError``."""
        if record is not None and record.fits(content):
            number, offset = record.slot_after()
            self._pwrite(_slot(number, content, keep_until), offset)
            return
        offset, capacity = os.fstat(self._fd).st_size, len(content) + max(SPARE_BYTES, len(content))
        try:
            self._pwrite(
                _RECORD.pack(digest, 0, capacity)
                + (_slot(0, content, keep_until) + bytes(capacity - len(content)))
                + bytes(_SLOT.size + capacity),
                offset,
            )
        except OSError:
            os.ftruncate(self._fd, offset)
            raise
        if record is not None:  # last, so that a process that is killed here leaves the record where it was
            self._pwrite(_OFFSET.pack(offset), record.moved_to_field)
        else:  # the record is expected from now on: a file that is cut short must not look like one without it
            self._places[digest] = offset, capacity
            if self._searched == offset:
                self._searched += _record_size(capacity)

    def all(self) -> Iterator[Record]:
        """Return all records. Raises ``DamagedFileError`` and ``OSError``."""
        self._search()
        for digest in list(self._places):
            record = self.read(digest)
            if record is not None:
                yield record

    def _search(self) -> None:
        """Find the records that have been added since the last search. The first one with a digest counts."""
        size = os.fstat(self._fd).st_size
        if size < self._searched:
            raise DamagedFileError
        while self._searched < size:
            digest, offset, capacity = self._place(self._searched)
            self._searched += _record_size(capacity)
            self._places.setdefault(digest, (offset, capacity))

    def _place(self, offset: int) -> tuple[bytes, int, int]:
        digest, _, capacity = _RECORD.unpack(self._pread(_RECORD.size, offset))
        if offset + _record_size(capacity) > os.fstat(self._fd).st_size:
            raise DamagedFileError
        return digest, offset, capacity

    def _pread(self, size: int, offset: int) -> bytes:
        data = os.pread(self._fd, size, offset)
        if len(data) < size:
            raise DamagedFileError
        return data

    def _pwrite(self, data: bytes, offset: int) -> None:
        if os.pwrite(self._fd, data, offset) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _record_size(capacity: int) -> int:
    return _RECORD.size + 2 * (_SLOT.size + capacity)


def _slot(number: int, content: bytes, keep_until: int) -> bytes:
    checksum = crc32(content, crc32(_CHECKED.pack(number, keep_until, len(content))))
    return _SLOT.pack(number, keep_until, len(content), checksum) + content


def _newest(digest: bytes, data: bytes, offset: int, capacity: int) -> Record:
    """Return the newest content of a record.

    Raises ``DamagedFileError`` also if only the other slot is damaged: it may have been the newest one. The content
    before would lack the permits that were granted last, and a new file costs a pause only.
    """
    newest: Record | None = None
    for begin in (_RECORD.size, _RECORD.size + _SLOT.size + capacity):
        number, keep_until, length, checksum = slot = _SLOT.unpack_from(data, begin)
        if slot == _NEVER_WRITTEN:
            continue
        content = data[begin + _SLOT.size : begin + _SLOT.size + length]
        if length > capacity or checksum != crc32(content, crc32(_CHECKED.pack(number, keep_until, length))):
            raise DamagedFileError
        if newest is None or number > newest.write_number:
            newest = Record(digest, content, keep_until, offset, capacity, number)
    if newest is None:
        raise DamagedFileError
    return newest


#: A slot of a new record.
_NEVER_WRITTEN = (0, 0, 0, 0)
