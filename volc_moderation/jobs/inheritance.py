"""What a leader must know of the permits of the one before: the vendor still counts the requests of the last second.

It matters to quotas that this process keeps by itself (``WindowQuotas``). A shared store knows by itself.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError
from volc_moderation.jobs.clients import Clients
from volc_moderation.jobs.job import Lane, hash_account
from volc_moderation.jobs.journal import Journal, JournalThread
from volc_moderation.quotas.permit import QuotaKey
from volc_moderation.quotas.round_trips import LATE_ARRIVAL_ALLOWANCE
from volc_moderation.quotas.window import WindowQuotas, default_quotas

# Notes of the journal.
#: The boot of the machine in which a leader started that has not ended cleanly.
_LEADER = "leader"
#: The permits that the last leader had out when it ended.
_PERMITS = "permits"


async def begin_lead(journal: JournalThread, clients: Clients) -> None:
    """Note that this process leads, and take over the permits of the last leader. Raises ``JournalError``."""
    boot = _boot()

    def replace_notes(journal: Journal) -> tuple[str | None, str | None]:
        notes = journal.note(_LEADER), journal.note(_PERMITS)
        journal.note(_LEADER, boot)
        journal.note(_PERMITS, "{}")
        journal.note_owner()
        return notes

    lanes = await journal.do(Journal.lanes)
    leader, permits = await journal.do(replace_notes)
    # A leader that was killed has noted nothing.
    inherited = _all_permits(lanes.values(), clients) if leader == boot else _noted_permits(permits, boot, clients)
    for client, key, times in inherited:
        store = _store_of(client)
        if store is not None:
            store.inherit_permits({key: times})


async def end_lead(journal: JournalThread, clients: Clients) -> None:
    """Note which permits are out, and that this process leads no more. Raises ``JournalError``."""
    stores = {id(store): store for store in map(_store_of, clients.all()) if store is not None}
    permits = [
        [key.vendor, hash_account(key.account), key.action, key.room, times]
        for store in stores.values()
        for key, times in store.permit_return_times().items()
    ]

    def write_notes(journal: Journal) -> None:
        journal.note(_PERMITS, json.dumps({_boot(): permits}))
        journal.note(_LEADER, "")

    await journal.do(write_notes)


def _all_permits(lanes: Iterable[Lane], clients: Clients) -> Iterator[tuple[Client, QuotaKey, list[float]]]:
    """Yield all permits of each quota, as if they had been used right now."""
    now, seen = time.monotonic(), set()
    for lane in lanes:
        try:
            client, action_type = clients.client_for(lane)
            key = QuotaKey(client.vendor, client.account, action_type.name)
            store = _store_of(client)
            if store is None or key in seen:
                continue
            quota = store._configured_quota(key, client.quota_of(action_type))  # noqa: SLF001 - with the user's limit
        except ConfigurationError:
            continue  # this process makes no such calls
        seen.add(key)
        yield client, key, quota.limit * [now + quota.window + LATE_ARRIVAL_ALLOWANCE]


def _noted_permits(note: str | None, boot: str, clients: Clients) -> Iterator[tuple[Client, QuotaKey, list[float]]]:
    """Yield the permits of a note, with a client whose permits they are."""
    with contextlib.suppress(ValueError, TypeError, AttributeError):  # another program has written the note
        for vendor, account, action, room, times in json.loads(note or "{}").get(boot, []):
            for client in clients.all():
                if client.vendor == vendor and hash_account(client.account) == account:
                    yield client, QuotaKey(vendor, client.account, action, room), [float(at) for at in times]
                    break


def _store_of(client: Client) -> WindowQuotas | None:
    """Return the store of a client if it belongs to this process alone."""
    store = client.quotas or default_quotas()  # a client that has made no call has none yet
    return store if isinstance(store, WindowQuotas) else None


def _boot() -> str:
    """Return a text that is the same as long as ``time.monotonic`` goes on, in every process of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return f"{os.name} {round((time.time() - time.monotonic()) / 100)}"
