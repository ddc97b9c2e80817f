"""The emulator's rooms are consistent: kicked users are gone, banned users stay out, muted streams are not reported."""

import asyncio
from typing import Any

import pytest

from tests.doubles import Vendors, loop_clock
from volc_moderation import ConflictError, InvalidRequestError, NoQuotas, NotFoundError, RetryPolicy, ThrottledError
from volc_moderation.emulator import Emulator, Settings
from volc_moderation.emulator.rooms import Member, Rooms
from volc_moderation.zego import UserStatus

ROOM: dict[str, Any] = {"app_id": "app", "room_id": "room"}
ONCE = RetryPolicy(attempts=1)

pytestmark = pytest.mark.looptime


async def online(vendors: Vendors, room: str = "room") -> list[str]:
    users = await vendors.volcengine.get_room_online_users(app_id="app", room_id=room)
    assert users.room_exists == bool(users.total_user)
    return users.visible_user_list


async def zego_users(vendors: Vendors, room: str = "room") -> list[str]:
    return [user.user_id async for user in vendors.zego.iter_user_list(room_id=room)]


async def streams(vendors: Vendors) -> list[str]:
    return [stream.stream_id for stream in (await vendors.zego.describe_simple_stream_list(room_id="room")).stream_list]


# Volcengine


async def test_users_are_listed_until_they_leave(vendors: Vendors) -> None:
    assert await online(vendors) == []
    for user in ("one", "two"):
        assert vendors.emulator.join("volcengine", "room", user)
    assert await online(vendors) == ["one", "two"]
    vendors.emulator.leave("volcengine", "room", "one")
    assert await online(vendors) == ["two"]
    assert await online(vendors, "other") == []


async def test_a_kicked_user_may_join_again(vendors: Vendors) -> None:
    vendors.emulator.join("volcengine", "room", "user")
    assert (await vendors.volcengine.kick_user(**ROOM, user_id="user")).message == "success"
    assert await online(vendors) == []
    assert vendors.emulator.join("volcengine", "room", "user")
    await vendors.volcengine.dismiss_room(**ROOM)
    assert await online(vendors) == []


@pytest.mark.parametrize(
    ("ban", "kept_out", "let_in"),
    [
        (ROOM, [("room", "one"), ("room", "two")], [("other", "one")]),
        ({**ROOM, "user_id": "one"}, [("room", "one")], [("room", "two"), ("other", "one")]),
        ({"app_id": "app", "user_id": "one"}, [("room", "one"), ("other", "one")], [("room", "two")]),
        ({"app_id": "app", "ip": "203.0.113.7"}, [("room", "two")], [("room", "one"), ("other", "three")]),
    ],
)
async def test_a_ban_removes_users_and_keeps_them_out(vendors: Vendors, ban: Any, kept_out: Any, let_in: Any) -> None:
    """In all rooms that it covers, and until it ends."""
    ips = {"two": "203.0.113.7"}
    join = vendors.emulator.join
    for room, user in (*kept_out, *let_in):
        assert join("volcengine", room, user, ip=ips.get(user))
    assert (await vendors.volcengine.ban_room_user(**ban, forbidden_interval=60)).message == "success"
    for room, user in kept_out:
        assert user not in await online(vendors, room)
        assert not join("volcengine", room, user, ip=ips.get(user))
    for room, user in let_in:
        assert user in await online(vendors, room)
    assert (await vendors.volcengine.ban_room_user(**ban, forbidden_interval=60)).message == "Room has been banned"
    await asyncio.sleep(61)
    for room, user in kept_out:
        assert join("volcengine", room, user, ip=ips.get(user))


async def test_a_ban_can_be_changed_and_lifted(vendors: Vendors) -> None:
    user = {**ROOM, "user_id": "user"}
    join = vendors.emulator.join
    await vendors.volcengine.ban_room_user(**user, forbidden_interval=604_800)
    assert not join("volcengine", "room", "user")
    await vendors.volcengine.update_ban_room_user_rule(**user, forbidden_interval=0)
    assert join("volcengine", "room", "user")
    await vendors.volcengine.update_ban_room_user_rule(**user, forbidden_interval=10)
    assert not join("volcengine", "room", "user")
    await asyncio.sleep(11)
    assert join("volcengine", "room", "user")


async def test_a_ban_without_an_interval_only_removes_users(vendors: Vendors) -> None:
    vendors.emulator.join("volcengine", "room", "user")
    await vendors.volcengine.ban_room_user(**ROOM, user_id="user")
    assert await online(vendors) == []
    assert vendors.emulator.join("volcengine", "room", "user")


@pytest.mark.parametrize("version", ["2020-12-01", "2023-11-01"])
async def test_both_versions_of_an_action_succeed(vendors: Vendors, version: str) -> None:
    """The old version spells ``message`` in lower case; the client reads both."""
    user = {**ROOM, "user_id": "user", "version": version}
    assert (await vendors.volcengine.ban_room_user(**user)).message == "success"
    assert (await vendors.volcengine.ban_user_stream(**user, token="t")).message == "success"
    assert (await vendors.volcengine.unban_user_stream(**user, token="t")).message == "success"


async def test_messages_are_accepted(vendors: Vendors) -> None:
    message: dict[str, Any] = {"app_id": "app", "from_": "server", "message": "Be kind."}
    volcengine = vendors.volcengine
    for result in (
        await volcengine.send_unicast(**message, to="user"),
        await volcengine.send_room_unicast(**message, room_id="room", to="user"),
        await volcengine.batch_send_room_unicast(**message, room_id="room", to=["one", "two"]),
        await volcengine.send_broadcast(**message, room_id="room"),
    ):
        assert result.message == "Success"


async def test_the_moderation_of_a_room_lists_all_users_that_it_covered(vendors: Vendors) -> None:
    vendors.emulator.join("volcengine", "room", "before")
    await vendors.volcengine.start_detection(**ROOM)
    vendors.emulator.join("volcengine", "room", "after")
    vendors.emulator.leave("volcengine", "room", "before")
    tasks = (await vendors.volcengine.list_detection_task(**ROOM)).event_data
    assert [task.user_id for task in tasks] == ["before", "after"]


async def moderated(vendors: Vendors) -> list[str]:
    """Return which of 20 users are reported. Check that the list of tasks has them all."""
    all_users = [f"user-{number:02}" for number in range(20)]
    present = set(await online(vendors))
    assert present <= set(all_users)
    reported = [user for user in all_users if user in present and vendors.emulator.report("volcengine", "room", user)]
    listed = [task.user_id for task in (await vendors.volcengine.list_detection_task(**ROOM)).event_data]
    assert set(reported) <= set(listed)
    return reported


@pytest.mark.parametrize("join_first", [True, False])
async def test_the_moderation_of_a_room_covers_17_streams(vendors: Vendors, join_first: bool) -> None:
    """The 18th is not moderated until one of them leaves or is kicked."""
    all_users = [f"user-{number:02}" for number in range(20)]
    start: dict[str, Any] = {**ROOM, "callback": "https://example.com/", "media_type": 1}
    if not join_first:
        await vendors.volcengine.start_detection(**start)
    for user in all_users:
        assert vendors.emulator.join("volcengine", "room", user)
    if join_first:
        await vendors.volcengine.start_detection(**start)
    assert await moderated(vendors) == all_users[:17]
    tasks = (await vendors.volcengine.list_detection_task(**ROOM)).event_data
    assert [task.user_id for task in tasks] == all_users[:17]
    started = tasks[0].create_time
    await asyncio.sleep(60)
    vendors.emulator.leave("volcengine", "room", "user-03")
    assert await moderated(vendors) == [*all_users[:3], *all_users[4:18]]
    await vendors.volcengine.kick_user(**ROOM, user_id="user-19")  # not moderated yet
    await vendors.volcengine.kick_user(**ROOM, user_id="user-04")
    assert await moderated(vendors) == [*all_users[:3], *all_users[5:19]]
    tasks = (await vendors.volcengine.list_detection_task(**ROOM)).event_data
    assert [task.user_id for task in tasks] == all_users[:19]
    assert [task.create_time - started for task in tasks] == [*17 * [0], 60, 60]
    for user in ("user-03", "user-19"):  # a user who joins again is the newest
        vendors.emulator.join("volcengine", "room", user)
    assert await moderated(vendors) == [*all_users[:3], *all_users[5:19]]


async def test_tasks_of_single_users_have_no_limit_of_streams(vendors: Vendors) -> None:
    for number in range(20):
        vendors.emulator.join("volcengine", "room", f"user-{number:02}")
    task: dict[str, Any] = {**ROOM, "user_id": "user-19", "callback": "https://example.com/"}
    await vendors.volcengine.start_detection(**task)
    assert await moderated(vendors) == ["user-19"]


# ZEGO


async def test_kicking_a_user_out_closes_the_stream(vendors: Vendors) -> None:
    for user in ("one", "two", "three"):
        assert vendors.emulator.join("zego", "room", user)
    assert await streams(vendors) == ["one-stream", "two-stream", "three-stream"]
    await vendors.zego.kickout_user(room_id="room", user_id=["one", "three"])
    assert await zego_users(vendors) == ["two"]
    states = (await vendors.zego.describe_users(room_id="room", user_id=["one", "two"])).user_status_list
    assert [(state.user_id, state.status) for state in states] == [("one", 0), ("two", 1)]
    assert (await vendors.zego.describe_rtc_stream_state(stream_id="one-stream")).code == 41006
    (count,) = (await vendors.zego.describe_user_num(room_id=["room"])).user_count_list
    assert count.user_count == 1


async def test_a_room_can_be_closed_once(vendors: Vendors) -> None:
    vendors.emulator.join("zego", "room", "user")
    await vendors.zego.close_room(room_id="room")
    assert await zego_users(vendors) == []
    with pytest.raises(NotFoundError):
        await vendors.zego.close_room(room_id="room")
    with pytest.raises(NotFoundError):
        await vendors.zego.kickout_user(room_id="room", user_id=["user"])


async def test_users_are_listed_in_pages(vendors: Vendors) -> None:
    all_users = [f"user-{number:03}" for number in range(450)]
    for user in all_users:
        vendors.emulator.join("zego", "room", user)
    assert await zego_users(vendors) == all_users
    backwards = [user.user_id async for user in vendors.zego.iter_user_list(room_id="room", mode=1, limit=100)]
    assert backwards == all_users[::-1]
    assert vendors.emulator.counts()["DescribeUserList"]["throttled"] == 0


async def test_a_stream_is_forbidden_until_it_is_resumed(vendors: Vendors) -> None:
    vendors.emulator.join("zego", "room", "user", stream_id="s")
    assert (await vendors.zego.describe_rtc_stream_state(stream_id="s")).is_alive
    await vendors.zego.forbid_rtc_stream(stream_id="s")
    assert (await vendors.zego.describe_rtc_stream_state(stream_id="s")).code == 41006
    assert await streams(vendors) == []
    assert await zego_users(vendors) == ["user"]
    vendors.emulator.join("zego", "room", "user", stream_id="s")
    assert await streams(vendors) == []
    await vendors.zego.resume_rtc_streams(stream_id=["s", "unknown"])
    vendors.emulator.join("zego", "room", "user", stream_id="s")
    assert await streams(vendors) == ["s"]
    assert (await vendors.zego.describe_rtc_stream_state(stream_id="unknown")).code == 41004


async def test_the_fields_of_users_and_streams(vendors: Vendors) -> None:
    joined_at = []
    for user in ("one", "two"):
        vendors.emulator.join("zego", "room", user)
        joined_at.append(loop_clock() * 1000)
        await asyncio.sleep(60)
    users = (await vendors.zego.describe_users(room_id="room", user_id=["two", "gone", "one"])).user_status_list
    assert [(user.user_id, user.status, user.user_role) for user in users] == [
        ("two", UserStatus.IN, 1),
        ("gone", UserStatus.OUT, 0),
        ("one", UserStatus.IN, 1),
    ]
    first, second = [pytest.approx(time, abs=1) for time in joined_at]
    assert [user.login_time for user in users] == [second, 0, first]
    stream_list = (await vendors.zego.describe_simple_stream_list(room_id="room")).stream_list
    assert [(stream.user_id, stream.stream_number_id) for stream in stream_list] == [("one", 1), ("two", 2)]
    assert [stream.create_time for stream in stream_list] == [first, second]
    counts = (await vendors.zego.describe_user_num(room_id=["room", "other"])).user_count_list
    assert [(count.room_id, count.user_count, count.admin_user_count) for count in counts] == [
        ("room", 2, 0),
        ("other", 0, 0),
    ]
    (first_user, _) = (await vendors.zego.describe_user_list(room_id="room")).user_list
    assert (first_user.user_id, first_user.user_name, first_user.user_role) == ("one", "one", 1)


async def test_sequences_must_grow(vendors: Vendors) -> None:
    await vendors.zego.forbid_rtc_stream(stream_id="s", sequence="100")
    with pytest.raises(InvalidRequestError, match="did not grow"):
        await vendors.zego.resume_rtc_stream(stream_id="s", sequence="100")
    await vendors.zego.resume_rtc_stream(stream_id="other", sequence="1")
    await asyncio.sleep(10.1)
    await vendors.zego.resume_rtc_stream(stream_id="s", sequence="1")


@pytest.mark.parametrize(
    ("rule", "may_join", "may_publish"),
    [
        ({"rule_type": 1, "ip": "203.0.113.7", "disabled_privilege": [1]}, False, False),
        ({"rule_type": 2, "room_id": "room", "disabled_privilege": [2]}, True, False),
        ({"rule_type": 3, "user_id": "user", "disabled_privilege": [1, 2]}, False, False),
        ({"rule_type": 4, "room_id": "room", "user_id": "user", "disabled_privilege": [2]}, True, False),
        ({"rule_type": 4, "room_id": "other", "user_id": "user", "disabled_privilege": [1]}, True, True),
    ],
)
async def test_rules_about_users(vendors: Vendors, rule: Any, may_join: bool, may_publish: bool) -> None:
    """They forbid the next join or stream, do not affect running ones, and end in time."""
    vendors.emulator.join("zego", "room", "user", ip="203.0.113.7")
    rule_set = await vendors.zego.set_forbid_user_rule(**rule, effective_time=60)
    assert rule_set.expire_time is not None
    assert await streams(vendors) == ["user-stream"]
    vendors.emulator.leave("zego", "room", "user")
    assert vendors.emulator.join("zego", "room", "user", ip="203.0.113.7") == may_join
    assert bool(await streams(vendors)) == may_publish
    await asyncio.sleep(61)
    assert vendors.emulator.join("zego", "room", "user", ip="203.0.113.7")
    assert await streams(vendors) == ["user-stream"]
    assert not (await vendors.zego.describe_forbid_user_rules(rule_type=rule["rule_type"])).rule_list
    key = {name: value for name, value in rule.items() if name != "disabled_privilege"}
    with pytest.raises(NotFoundError):
        await vendors.zego.del_forbid_user_rule(**key)


@pytest.mark.no_coverage
@pytest.mark.parametrize(("rule_type", "max_rules"), [(1, 100), (2, 200), (3, 200), (4, 200)])
async def test_the_number_of_rules_of_each_type_is_limited(vendors: Vendors, rule_type: int, max_rules: int) -> None:
    def rule_key(kind: int, number: int) -> dict[str, Any]:
        key = {"ip": f"10.0.0.{number}", "room_id": f"room-{number}", "user_id": f"user-{number}"}
        names = {1: ("ip",), 2: ("room_id",), 3: ("user_id",), 4: ("room_id", "user_id")}[kind]
        return {"rule_type": kind, **{name: key[name] for name in names}}

    async def forbid(kind: int, number: int, seconds: int = 600) -> None:
        await vendors.zego.set_forbid_user_rule(
            **rule_key(kind, number), disabled_privilege=[1], effective_time=seconds
        )

    await asyncio.gather(*(forbid(rule_type, number, 300 if number else 3600) for number in range(max_rules)))
    for is_last_round in (False, True):
        await forbid(rule_type, max_rules - 1, 300)  # exists already
        with pytest.raises(ConflictError, match="too many rules"):
            await forbid(rule_type, max_rules)
        if is_last_round:
            break
        await forbid(rule_type % 4 + 1, 0)  # of another type
        await vendors.zego.del_forbid_user_rule(**rule_key(rule_type, 1))
        await forbid(rule_type, 1, 300)
    rules = (await vendors.zego.describe_forbid_user_rules(rule_type=rule_type)).rule_list
    assert len(rules) == max_rules
    assert {rule.rule_type for rule in rules} == {rule_type}
    await asyncio.sleep(400)
    await forbid(rule_type, max_rules)  # most rules have ended
    rules = (await vendors.zego.describe_forbid_user_rules(rule_type=rule_type)).rule_list
    assert sorted((rule.ip, rule.room_id, rule.user_id) for rule in rules) == sorted(
        (name.get("ip"), name.get("room_id"), name.get("user_id"))
        for name in (rule_key(rule_type, 0), rule_key(rule_type, max_rules))
    )


async def test_rules_about_streams(vendors: Vendors) -> None:
    key: dict[str, Any] = {"room_id": "room", "stream_id": "s"}
    await vendors.zego.set_forbid_stream_rule(**key, disable_audio=1)
    await vendors.zego.set_forbid_stream_rule(**key, disable_video=1, effective_time=60)  # the last call wins
    rules = (
        await vendors.zego.describe_forbid_stream_rules(room_id="room", stream_id=["s", "t"])
    ).forbid_stream_rule_list
    assert [(rule.stream_id, rule.disable_audio, rule.disable_video, rule.effective_time) for rule in rules] == [
        ("s", 0, 1, 60)
    ]
    await vendors.zego.del_forbid_stream_rule(**key)
    await vendors.zego.del_forbid_stream_rule(**key)
    rules = (await vendors.zego.describe_forbid_stream_rules(room_id="room", stream_id=["s"])).forbid_stream_rule_list
    assert rules == []


async def test_a_command_reports_the_users_that_it_does_not_reach(vendors: Vendors) -> None:
    vendors.emulator.join("zego", "room", "here")
    command = {"room_id": "room", "from_user_id": "server", "message_content": "Be kind."}
    outcome = await vendors.zego.send_custom_command(**command, to_user_id=["here", "gone"])
    assert [(user.uid, user.code) for user in outcome.fail_users] == [("gone", 50003)]
    assert (await vendors.zego.send_custom_command(**command)).fail_users == []


async def test_room_quotas_and_families_have_codes_of_their_own() -> None:
    settings = Settings(quotas={"ForbidRTCStream": 1, "KickoutUser": 1})
    async with Vendors(settings, retry=ONCE, quotas=NoQuotas()) as vendors:
        vendors.emulator.join("zego", "room", "user")
        zego = vendors.zego
        calls: list[tuple[Any, dict[str, Any], int]] = [
            (zego.describe_simple_stream_list, {"room_id": "room"}, 207),
            (zego.describe_user_list, {"room_id": "room"}, 207),
            (zego.forbid_rtc_stream, {"stream_id": "s"}, 30002),
            (zego.kickout_user, {"room_id": "room", "user_id": ["nobody"]}, 206),
        ]
        for call, parameters, code in calls:
            await call(**parameters)
            with pytest.raises(ThrottledError) as caught:
                await call(**parameters)
            assert caught.value.code == code
        await zego.describe_simple_stream_list(room_id="other")
        await asyncio.sleep(9.9)
        with pytest.raises(ThrottledError):
            await zego.describe_simple_stream_list(room_id="room")
        await asyncio.sleep(0.2)
        await zego.describe_simple_stream_list(room_id="room")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("other", "room", "user"), ValueError),
        (("zego", "room", "user", "more"), TypeError),
    ],
)
def test_join_raises_for_wrong_arguments(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Emulator().join(*arguments)


def member(verdict: str) -> Member:
    return Member(user_id="u", stream_id=None, verdict=verdict, joined=0.0)


def test_on_change_is_called_with_each_changed_room() -> None:
    changed: list[tuple[str, ...]] = []
    rooms = Rooms(changed.append)
    rooms.enter(("a",), member("PASS"))
    rooms.remove(("a",), "u")
    rooms.clear(("b",))
    assert changed == [("a",), ("a",), ("b",)]
    with pytest.raises(ValueError, match="verdict"):
        rooms.enter(("a",), member("MAYBE"))
    assert rooms.members(("a",)) == []
