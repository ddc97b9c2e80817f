"""The actions of ZEGO's media service: forbid a stream, whoever publishes it, and let it be published again.

In the test environment of a project made before 2021-11-17, a ``stream_id`` is ``zegotest-<AppId>-<id>``, where
``<id>`` is the one that the client side uses.

https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/
"""

from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import Quota, wire_name
from volc_moderation.zego.actions import STREAM_ID, Done, Family, ZegoAction

R = TypeVar("R")

#: Per second and AppId, in production and in the test environment, says each page of the media service.
_QUOTA, _TEST_QUOTA = Quota(20), Quota(5)

ALIVE, UNKNOWN, CLOSED = 0, 41004, 41006

_STREAMS = validators.list_of(STREAM_ID, least=1, most=20)


@frozen(kw_only=True)
class StreamAction(ZegoAction[R], Generic[R]):
    """The base of the actions of the media service.

    :param sequence: orders the calls about one stream; it must grow within any ten seconds. Unless it is given, the
        client counts, from the time in milliseconds, as ZEGO advises.
    """

    method = "GET"
    family: ClassVar[Family] = "media-service"

    sequence: str | None = field(default=None, validator=validators.optional(validators.text()))


@frozen(kw_only=True)
class RTCStreamState:
    """The state of a stream.

    ``code`` is 0 if it is alive, 41006 if it is closed, 41004 if there is none. The times are texts as ZEGO gives them.
    """

    code: int
    create_time: str | None = field(default=None, metadata=wire_name("create_time"))
    close_time: str | None = field(default=None, metadata=wire_name("close_time"))

    @property
    def is_alive(self) -> bool:
        """Whether the stream is being published."""
        return self.code == ALIVE


@frozen(kw_only=True)
class ForbidRTCStream(StreamAction[Done]):
    """Stop the publishing of a stream and bar its id until it is resumed. Players are told.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/forbid-rtc-stream

    :param stream_id: at most 256 bytes; in a test environment ``zegotest-<AppId>-<id>``.
    """

    quota = _QUOTA
    test_quota = _TEST_QUOTA
    result = Done

    stream_id: str = field(validator=STREAM_ID)


@frozen(kw_only=True)
class ResumeRTCStream(StreamAction[Done]):
    """Let a stream be published again.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/resume-rtc-stream

    :param stream_id: at most 256 bytes; in a test environment ``zegotest-<AppId>-<id>``.
    """

    quota = _QUOTA
    test_quota = _TEST_QUOTA
    result = Done

    stream_id: str = field(validator=STREAM_ID)


@frozen(kw_only=True)
class ForbidRTCStreams(StreamAction[Done]):
    """Stop the publishing of several streams. An id that is unknown is barred as well, and is a success.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/forbid-rtc-streams

    :param stream_id: 1 to 20 ids of at most 256 bytes; in a test environment ``zegotest-<AppId>-<id>``.
    """

    quota = _QUOTA
    test_quota = _TEST_QUOTA
    result = Done

    stream_id: Sequence[str] = field(
        converter=validators.as_tuple, validator=_STREAMS, metadata=wire_name("StreamId[]")
    )


@frozen(kw_only=True)
class ResumeRTCStreams(StreamAction[Done]):
    """Let several streams be published again.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/resume-rtc-streams

    :param stream_id: 1 to 20 ids of at most 256 bytes; in a test environment ``zegotest-<AppId>-<id>``.
    """

    quota = _QUOTA
    test_quota = _TEST_QUOTA
    result = Done

    stream_id: Sequence[str] = field(
        converter=validators.as_tuple, validator=_STREAMS, metadata=wire_name("StreamId[]")
    )


@frozen(kw_only=True)
class DescribeRTCStreamState(StreamAction[RTCStreamState]):
    """Ask whether a stream is being published. That it is closed or unknown is a result, not an error.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/describe-rtc-stream-state

    :param stream_id: at most 256 bytes; in a test environment ``zegotest-<AppId>-<id>``.
    """

    quota = Quota(40)
    test_quota = Quota(10)
    result_codes = frozenset({UNKNOWN, CLOSED})
    result = RTCStreamState

    stream_id: str = field(validator=STREAM_ID)
