"""What a leader must know of the permits of the one before: the vendor still counts the requests of the last second.

It matters to quotas that this process keeps by itself (``WindowQuotas``). A shared store knows by itself.
"""

import contextlib
import json
import time
from collections.abc import Iterable

from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError
from volc_moderation.jobs.clients import Clients
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.journal import Journal, JournalThread
from volc_moderation.quotas.machine import clock_identity
from volc_moderation.quotas.permit import QuotaKey, hash_account
from volc_moderation.quotas.window import WindowQuotas

#: Permits that return later than this are of an earlier boot, on a system that cannot tell one boot from another.
MAX_RETURN_TIME = 60.0  # seconds

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
    if leader == boot:  # it was killed, and has noted nothing
        _assume_used(lanes.values(), clients)
    else:
        _inherit(permits, boot, clients)


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


def _assume_used(lanes: Iterable[Lane], clients: Clients) -> None:
    """Let all permits of the quotas of lanes be out; a quota that several versions share is used once."""
    used = set()
    for lane in lanes:
        with contextlib.suppress(ConfigurationError):  # this process makes no such calls
            client, action_type = clients.client_for(lane)
            key, store = QuotaKey(client.vendor, client.account, action_type.name), _store_of(client)
            if store is not None and key not in used:
                store.assume_used(key, client.quota_of(action_type))
                used.add(key)


def _inherit(note: str | None, boot: str, clients: Clients) -> None:
    """Take over the permits of a note, with a client whose permits they are."""
    latest = time.monotonic() + MAX_RETURN_TIME
    with contextlib.suppress(ValueError, TypeError, AttributeError):  # another program has written the note
        for vendor, account, action, room, times in json.loads(note or "{}").get(boot, []):
            for client in clients.all():
                store = _store_of(client)
                if store is not None and (client.vendor, hash_account(client.account)) == (vendor, account):
                    key = QuotaKey(vendor, client.account, action, room)
                    store.inherit_permits({key: [float(at) for at in times if at < latest]})
                    break


def _store_of(client: Client) -> WindowQuotas | None:
    """Return the store of a client if it belongs to this process alone."""
    store = client.quotas
    return store if isinstance(store, WindowQuotas) else None


def _boot() -> str:
    """Return a text that is the same as long as ``time.monotonic`` goes on, in every process of the machine."""
    return clock_identity().hex()
