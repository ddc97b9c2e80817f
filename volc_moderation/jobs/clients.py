"""Which client makes a call, and the stored form of its action."""

import json
import time
from collections.abc import Sequence
from typing import Any, TypeVar

import attrs

from volc_moderation.action import Action, documented_versions, version_of
from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError, DecodeError, InvalidActionError, describe
from volc_moderation.jobs.job import Job, JobState, Lane, StoredJob
from volc_moderation.jobs.lane_log import log_lane
from volc_moderation.jobs.stored_result import load_result
from volc_moderation.log_events import LogEvent, Repeats
from volc_moderation.quotas.permit import hash_account
from volc_moderation.wire import JSON, dump_json, load_json, parameters, parse

R = TypeVar("R")


class Clients:
    """The clients of one or more accounts."""

    def __init__(self, clients: Sequence[Client]) -> None:
        if not clients or not all(isinstance(client, Client) for client in clients):
            raise ConfigurationError("clients must be a list of at least one client, such as a VolcengineClient")
        self._clients = tuple(clients)
        self._set = frozenset(clients)
        #: By vendor and hash of the account. Empty until the accounts are known.
        self._by_account: dict[tuple[str, str], list[Client]] = {}
        #: By client, action and version.
        self._lanes: dict[tuple[Client, type[Action[Any]], str], Lane] = {}
        #: The actions of jobs that were read.
        self._action_types: dict[Lane, type[Action[Any]]] = {}
        self._unreadable = Repeats()

    def all(self) -> tuple[Client, ...]:
        """Return the clients."""
        return self._clients

    async def resolve_accounts(self) -> None:
        """Learn the accounts that are not known yet, of clients whose keys are fetched: lanes need them.

        Raises ``AuthenticationError`` if there are no keys, and ``ConfigurationError`` if they do not tell the account.
        """
        for client in self._clients:
            await client.resolve_account()

    def accounts(self) -> frozenset[tuple[str, str]]:
        """Return the vendor, and the hash of the account, of each client; also of the names that it had before."""
        return frozenset(
            (client.vendor, hash_account(account))
            for client in self._clients
            for account in {client.account, *client.former_accounts}
        )

    def complete(self, action: Action[R], client: Client | None = None) -> tuple[Lane, Action[R]]:
        """Return the lane of an action, and the action with what it leaves to its client.

        :param client: selects a client if several could make the call.

        Raises ``ConfigurationError`` if no client makes the call, or if several do and ``client`` is None;
        ``InvalidActionError`` if a required field has a value neither in the action nor in the client.
        """
        if not isinstance(action, Action):
            raise ConfigurationError(f"a job is an action, such as StopWebcast(…); got {describe(action)}")
        eligible: Sequence[Client] = self._clients
        if client is not None:  # mostly one of the clients, of which there may be a thousand
            eligible = [client] if client in self._set else [one for one in self._clients if one.is_sibling_of(client)]
        if not eligible:
            raise ConfigurationError("client must be one of the clients")
        candidates = [each for each in eligible if each.accepts(action)]
        if len(candidates) != 1:
            none = "none of the clients makes it" if client is None else "this client does not make it"
            reason = "several of the clients make it; say which: client=" if candidates else none
            raise ConfigurationError(f"{action.name}: {reason}")
        (chosen,) = candidates
        action = chosen.complete(action)
        return self._lane_of(action, chosen), action

    def lane_of(self, action: Action[Any], client: Client | None = None) -> Lane:
        """Return the lane of an action. Raises as ``complete`` does."""
        return self.complete(action, client)[0]

    def _lane_of(self, action: Action[Any], client: Client) -> Lane:
        version = version_of(action)
        cache_key = client, type(action), version
        if cache_key not in self._lanes:
            if client.actions().get(action.name) is not type(action):  # it could not be loaded again
                raise ConfigurationError(
                    f"{type(action).__name__} is no action of its own: it lacks @attrs.frozen, or another has its name"
                )
            self._lanes[cache_key] = Lane(client.vendor, hash_account(client.account), action.name, version)
        return self._lanes[cache_key]

    def client_for(self, lane: Lane) -> tuple[Client, type[Action[Any]]]:
        """Return the client and the action of a lane.

        Jobs that were stored under another name of the account, such as an access key before it got a name, run with
        its quota, too. Raises ``ConfigurationError`` if no client has its account, or knows its action.
        """
        for client in self._having_account(lane):
            action_type = client.actions().get(lane.action)
            if action_type is not None:
                return client, action_type
        raise ConfigurationError(
            f"there are jobs of {lane.action} at {lane.vendor}, of an account or address that none of the clients has"
        )

    def _having_account(self, lane: Lane) -> list[Client]:
        """Return the clients that have the account of a lane, else those that had its name before."""
        if not self._by_account:
            by_account: dict[tuple[str, str], list[Client]] = {}
            for client in self._clients:
                by_account.setdefault((client.vendor, hash_account(client.account)), []).append(client)
            self._by_account = by_account
        return self._by_account.get((lane.vendor, lane.account)) or [
            client
            for client in self._clients
            if client.vendor == lane.vendor and lane.account in map(hash_account, client.former_accounts)
        ]

    def read_job(self, stored: StoredJob) -> Job[Any]:
        """Return a stored job with its result as the action's result type; without it, if it cannot be read."""
        result, fault = None, None
        if stored.state is JobState.DONE and not stored.was_gone:
            action_type = self._action_type(stored.lane)
            if action_type is None:
                fault = f"none of the clients makes {stored.action}"
            else:
                try:
                    result = load_result(
                        stored.result, action_type.result, message=stored.message, request_id=stored.request_id
                    )
                except DecodeError as error:
                    fault = str(error)
        if fault is not None and stored.result is not None:
            self._log_unreadable(stored, fault)
        return Job(**attrs.asdict(stored, recurse=False) | {"result": result})

    def _log_unreadable(self, stored: StoredJob, fault: str) -> None:
        count = self._unreadable.count(stored.lane, time.monotonic())
        if count is not None:
            text = "the result of job %s cannot be read: %s"
            log_lane(LogEvent.RESULT_UNREADABLE, stored.lane, text, stored.key, fault, job=stored.key, count=count)

    def _action_type(self, lane: Lane) -> type[Action[Any]] | None:
        """Return the action of a lane, whatever its account is, or None if no client makes it."""
        action_type = self._action_types.get(lane)
        if action_type is None:
            client = next((client for client in self._clients if client.vendor == lane.vendor), None)
            action_type = None if client is None else client.actions().get(lane.action)
            if action_type is not None:
                self._action_types[lane] = action_type
        return action_type


def dump_action(action: Action[Any]) -> str:
    """Return an action's parameters as JSON in the vendor's spelling."""
    return dump_json(parameters(action)).decode()


def load_action(text: str, action_type: type[Action[Any]], lane: Lane) -> Action[Any]:
    """Return the action of a job from its parameters as JSON.

    Raises ``InvalidActionError`` if they break a rule of this version of the package.
    """
    try:
        action = parse(_load_parameters(text), action_type, root="parameters")
    except DecodeError as error:
        path = error.path
    else:
        if lane.version in documented_versions(action_type):
            # It is frozen for its users, and nobody has seen it yet: a copy would take longer than all else here.
            object.__setattr__(action, "version", lane.version)
        elif lane.version:
            return attrs.evolve(action, version=lane.version)  # type: ignore[misc] # each action is an attrs class
        return action
    # Raised outside of the except block: the frames of the DecodeError hold the parameters, with tokens of users.
    raise InvalidActionError.of(action_type.name, path, "as the journal of this version has it", text)


def _load_parameters(text: str) -> JSON | None:
    """Decode what ``dump_action`` returns. ``load_json`` alone would do, but takes three times as long."""
    try:
        value, end = _raw_decode(text)
    except (ValueError, RecursionError):
        end = -1
    return value if end == len(text) else load_json(text)


_raw_decode = json.JSONDecoder().raw_decode
