"""Which client makes a call, and how an action is written down and read again."""

from collections.abc import Sequence
from typing import Any

import attrs

from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError, DecodeError, InvalidActionError, describe
from volc_moderation.jobs.job import Lane, hash_of
from volc_moderation.wire import dump_json, load_json, parameters, parse


class Clients:
    """The clients of one or more accounts."""

    def __init__(self, clients: Sequence[Client]) -> None:
        if not clients or not all(isinstance(client, Client) for client in clients):
            raise ConfigurationError("clients must be a list of at least one client, such as a VolcengineClient")
        self._clients = tuple(clients)
        self._lanes: dict[tuple[Client, type[Action[Any]], str], Lane] = {}

    def lane_of(self, action: Action[Any], client: Client | None = None) -> Lane:
        """Return the lane of an action; ``client`` says which one of several that could make the call.

        Raises ``ConfigurationError`` if there is none, or more than one and no ``client``.
        """
        if not isinstance(action, Action):
            raise ConfigurationError(f"a job is an action, such as StopWebcast(…); got {describe(action)}")
        if client is not None and client not in self._clients:
            raise ConfigurationError("client must be one of the clients")
        able = [one for one in (self._clients if client is None else [client]) if one.accepts(action)]
        if len(able) != 1:
            none = "none of the clients makes it" if client is None else "this client does not make it"
            reason = "several of the clients make it; say which: client=" if able else none
            raise ConfigurationError(f"{action.name}: {reason}")
        version = getattr(action, "version", "")
        named = able[0], type(action), version
        if named not in self._lanes:
            if able[0].actions().get(action.name) is not type(action):  # what is written down could not be read again
                raise ConfigurationError(
                    f"{type(action).__name__} is no action of its own: it lacks @attrs.frozen, or another has its name"
                )
            self._lanes[named] = Lane(able[0].vendor, hash_of(able[0].account), action.name, version)
        return self._lanes[named]

    def client_for(self, lane: Lane) -> tuple[Client, type[Action[Any]]]:
        """Return the client and the action of a lane.

        Raises ``ConfigurationError`` if it is another account's, or nobody knows the action.
        """
        for client in self._clients:
            action_type = client.actions().get(lane.action)
            if action_type is not None and client.vendor == lane.vendor and hash_of(client.account) == lane.account:
                return client, action_type
        raise ConfigurationError(
            f"there are jobs of {lane.action} at {lane.vendor}, of an account or address that none of the clients has"
        )


def dump_action(action: Action[Any]) -> str:
    """Return an action's parameters as JSON in the vendor's spelling."""
    return dump_json(parameters(action)).decode()


def load_action(text: str, action_type: type[Action[Any]], lane: Lane) -> Action[Any]:
    """Return the action that was written down. Raises ``InvalidActionError`` if it breaks a rule of today."""
    action = parse(load_json(text), action_type, root="parameters")
    if isinstance(action, DecodeError):
        raise InvalidActionError.of(action_type.name, action.path, "as the journal of this version has it", text)
    if lane.version and getattr(action, "version", None) != lane.version:
        return attrs.evolve(action, version=lane.version)  # type: ignore[misc] # each action is an attrs class
    return action
