"""The Redis that shares quotas or has the queue: whether it is reachable, and whether its settings lose data."""

import time
from collections.abc import Mapping
from typing import Any, Literal

from volc_moderation.credentials import redact_passwords
from volc_moderation.doctor.clock import ClockReading, judge_clock
from volc_moderation.doctor.finding import Fact, Finding, Subject
from volc_moderation.doctor.round_trips import milliseconds
from volc_moderation.errors import ConfigurationError
from volc_moderation.redis_client import client_or_error, describe_redis_error, redis_errors

#: The time for one reply.
REPLY_TIMEOUT = 3.0  # seconds
#: The oldest version of Redis that has what the queue needs; every Valkey has it.
MIN_VERSION = 7
#: What the Redis is for: jobs must not be lost, and quotas are rebuilt.
Purpose = Literal["jobs", "quotas"]


async def check_redis(subject: Subject, address: str, purpose: Purpose) -> list[Finding]:
    """Check a Redis. Nothing is written."""
    client: Any = client_or_error(address, required_method="info", used_by="the Redis", timeout=REPLY_TIMEOUT)
    if isinstance(client, ConfigurationError):
        step = "correct the address, such as redis://localhost:6379, or install the extra redis"
        return [subject.failed("connection", str(client), step)]
    shown = redact_passwords(address)
    try:
        return await _ask(subject, client, shown, purpose)
    finally:
        await client.aclose()


async def _ask(subject: Subject, client: Any, shown: str, purpose: Purpose) -> list[Finding]:
    failure = None
    try:
        await client.ping()
        sent = time.time()
        seconds, micros = await client.time()
        received = time.time()
    except redis_errors() as error:
        failure = describe_redis_error(error)
    if failure is not None:
        return [judge_failure(subject, shown, failure)]
    round_trip = received - sent
    detail = f"{shown} answers in {milliseconds(round_trip)}"
    found = [subject.ok("connection", detail, address=shown, round_trip_seconds=round(round_trip, 6))]
    try:
        found += judge_info(subject, await client.info(), purpose)
    except redis_errors() as error:
        found.append(subject.skipped("version", f"INFO is refused: {describe_redis_error(error)}"))
    reading = ClockReading(sent, received, int(seconds) + int(micros) / 1e6, resolution=0.0)
    return [*found, judge_clock(subject, [reading], whose="the Redis")]


def judge_failure(subject: Subject, shown: str, failure: str) -> Finding:
    """Judge a Redis that cannot be used, by what redis-py says."""
    step = "start the Redis, or correct its address; look at the firewall between here and there"
    if any(word in failure for word in ("WRONGPASS", "NOAUTH", "AuthenticationError", "without any password")):
        step = "correct the user and the password in the address"
    elif "NOPERM" in failure or "NoPermissionError" in failure:
        step = "grant the user of the address the commands that the message names"
    elif "SSL" in failure or "CERTIFICATE" in failure:
        step = "use rediss:// for a Redis with TLS, and let ssl_ca_certs in the address name its authority"
    return subject.failed("connection", f"{shown} cannot be used: {failure}", step, address=shown)


def judge_info(subject: Subject, info: Mapping[str, Any], purpose: Purpose) -> list[Finding]:
    """Judge what a Redis says about itself."""
    return [
        _judge_version(subject, info),
        _judge_role(subject, info),
        _judge_eviction(subject, info),
        _judge_persistence(subject, info, purpose),
    ]


def _judge_version(subject: Subject, info: Mapping[str, Any]) -> Finding:
    is_valkey = info.get("server_name") == "valkey"
    name = "Valkey" if is_valkey else "Redis"
    version = str(info.get("valkey_version" if is_valkey else "redis_version", "?"))
    facts = {"server": name, "version": version, "mode": str(info.get("redis_mode", "standalone"))}
    if facts["mode"] == "cluster":
        step = "use a server that is not part of a cluster"
        return subject.failed("version", f"{name} {version}, which is part of a cluster", step, **facts)
    major = version.partition(".")[0]
    if not is_valkey and major.isdigit() and int(major) < MIN_VERSION:
        step = f"use Redis {MIN_VERSION} or later, or Valkey"
        return subject.failed("version", f"{name} {version} is too old", step, **facts)
    return subject.ok("version", f"{name} {version}", **facts)


def _judge_role(subject: Subject, info: Mapping[str, Any]) -> Finding:
    role = str(info.get("role", "master"))
    if role == "master":
        return subject.ok("role", "accepts writes", role=role)
    return subject.failed("role", "a replica, which accepts no writes", "use the address of its primary", role=role)


def _judge_eviction(subject: Subject, info: Mapping[str, Any]) -> Finding:
    policy = str(info.get("maxmemory_policy", "unknown"))
    limit, used = int(info.get("maxmemory") or 0), int(info.get("used_memory") or 0)
    memory = f"{_mib(used)} of {_mib(limit)} used" if limit else f"{_mib(used)} used, without a limit"
    facts: dict[str, Fact] = {"policy": policy, "maxmemory_bytes": limit, "used_memory_bytes": used}
    detail, step = f"maxmemory-policy {policy}; {memory}", "set maxmemory-policy to noeviction"
    if policy == "noeviction":
        if limit and used > limit * 0.9:
            step = "let it use more memory (maxmemory): a full Redis refuses jobs and permits"
            return subject.warning("eviction", detail, step, **facts)
        return subject.ok("eviction", detail, **facts)
    if not limit:
        return subject.warning("eviction", f"{detail}: nothing is dropped before a limit is set", step, **facts)
    return subject.failed("eviction", f"{detail}: when it is full, it drops jobs and permits", step, **facts)


def _judge_persistence(subject: Subject, info: Mapping[str, Any], purpose: Purpose) -> Finding:
    has_log = bool(info.get("aof_enabled"))
    snapshot = int(info.get("rdb_last_save_time") or 0)
    facts = {"appendonly": has_log, "last_snapshot": snapshot or None}
    for name, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot")):
        if info.get(name, "ok") != "ok":
            step = "look at the disk and the log of the Redis"
            return subject.failed("persistence", f"the last write of its {what} has failed", step, **facts)
    if has_log:
        return subject.ok("persistence", "append-only file", **facts)
    if purpose == "quotas":
        return subject.ok("persistence", "no append-only file, which quotas do not need", **facts)
    step = "set appendonly to yes"
    return subject.warning("persistence", "no append-only file: a restart loses jobs", step, **facts)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
