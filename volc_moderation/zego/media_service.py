"""The actions of ZEGO's media service: forbid a stream, whichever user publishes it, and allow it again.

In the test environment of a project created before 2021-11-17, a ``stream_id`` is ``zegotest-<AppId>-<id>``, where
``<id>`` is the id that the client side uses.

https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/
"""

from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import Quota, Result, wire_name
from volc_moderation.zego.actions import VALID_STREAM_ID, Done, Family, ZegoAction

R = TypeVar("R")

#: Per second and AppId, according to each page of the media service.
_QUOTA = Quota(20)
#: In the test environment, according to the same pages.
_TEST_QUOTA = Quota(5)

#: The codes of the state of a stream.
STREAM_ALIVE = 0
STREAM_NOT_FOUND = 41004
STREAM_CLOSED = 41006

_VALID_STREAM_IDS = validators.list_of(VALID_STREAM_ID, least=1, most=20)


@frozen(kw_only=True)
class StreamAction(ZegoAction[R], Generic[R]):
    """The base of the actions of the media service. The client sets a ``sequence`` that is None."""

    method = "GET"
    family: ClassVar[Family] = "media-service"

    sequence: str | None = field(default=None, validator=validators.optional(validators.text()))


@frozen(kw_only=True)
class RTCStreamState(Result):
    """The state of a stream.

    ``code`` is 0 if it is alive, 41006 if it is closed, and 41004 if it does not exist. The times are text as ZEGO
    sends them.
    """

    code: int
    create_time: str | None = field(default=None, metadata=wire_name("create_time"))
    close_time: str | None = field(default=None, metadata=wire_name("close_time"))

    @property
    def is_alive(self) -> bool:
        """Whether the stream is being published."""
        return self.code == STREAM_ALIVE


@frozen(kw_only=True)
class ForbidRTCStream(StreamAction[Done]):
    """Stop the publishing of a stream and forbid its id until it is resumed. Players are notified.

    Quota: 20 calls per second and AppId; 5 in the test environment.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/forbid-rtc-stream

    :param sequence: orders the calls about one stream. It must increase within any ten seconds. With None
        (default), the client counts up from the time in milliseconds, as ZEGO advises.
    :param stream_id: the stream, at most 256 bytes; in a test environment ``zegotest-<AppId>-<id>``.
    :returns: ``Done``: success, without data.
    :raises NotFoundError: 41003 or 41004: there is no such stream.
    :raises TemporaryError: 42001: ZEGO failed to forbid the stream; the client tries again.
    """

    quota = _QUOTA
    test_quota = _TEST_QUOTA
    result = Done

    stream_id: str = field(validator=VALID_STREAM_ID)


@frozen(kw_only=True)
class ResumeRTCStream(StreamAction[Done]):
    """Allow a stream to be published again.

    Quota: 20 calls per second and AppId; 5 in the test environment.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/resume-rtc-stream

    :param sequence: orders the calls about one stream. It must increase within any ten seconds. With None
        (default), the client counts up from the time in milliseconds, as ZEGO advises.
    :param stream_id: the stream, at most 256 bytes; in a test environment ``zegotest-<AppId>-<id>``.
    :returns: ``Done``: success, without data.
    :raises NotFoundError: 41003 or 41004: there is no such stream.
    :raises TemporaryError: 42002: ZEGO failed to resume the stream; the client tries again.
    """

    quota = _QUOTA
    test_quota = _TEST_QUOTA
    result = Done

    stream_id: str = field(validator=VALID_STREAM_ID)


@frozen(kw_only=True)
class ForbidRTCStreams(StreamAction[Done]):
    """Stop the publishing of several streams and forbid their ids.

    Unknown ids are forbidden too, without an error.

    Quota: 20 calls per second and AppId; 5 in the test environment.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/forbid-rtc-streams

    :param sequence: orders the calls about one stream. It must increase within any ten seconds. With None
        (default), the client counts up from the time in milliseconds, as ZEGO advises.
    :param stream_id: 1 to 20 streams, each at most 256 bytes; in a test environment ``zegotest-<AppId>-<id>``.
    :returns: ``Done``: success, without data.
    :raises TemporaryError: 42003: ZEGO failed to forbid the streams; the client tries again.
    """

    quota = _QUOTA
    test_quota = _TEST_QUOTA
    result = Done

    stream_id: Sequence[str] = field(
        converter=validators.as_tuple, validator=_VALID_STREAM_IDS, metadata=wire_name("StreamId[]")
    )


@frozen(kw_only=True)
class ResumeRTCStreams(StreamAction[Done]):
    """Allow several streams to be published again.

    Quota: 20 calls per second and AppId; 5 in the test environment.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/resume-rtc-streams

    :param sequence: orders the calls about one stream. It must increase within any ten seconds. With None
        (default), the client counts up from the time in milliseconds, as ZEGO advises.
    :param stream_id: 1 to 20 streams, each at most 256 bytes; in a test environment ``zegotest-<AppId>-<id>``.
    :returns: ``Done``: success, without data.
    :raises TemporaryError: 42004: ZEGO failed to resume the streams; the client tries again.
    """

    quota = _QUOTA
    test_quota = _TEST_QUOTA
    result = Done

    stream_id: Sequence[str] = field(
        converter=validators.as_tuple, validator=_VALID_STREAM_IDS, metadata=wire_name("StreamId[]")
    )


@frozen(kw_only=True)
class DescribeRTCStreamState(StreamAction[RTCStreamState]):
    """Check whether a stream is being published. If it is closed or does not exist, that is a result, not an error.

    Quota: 40 calls per second and AppId; 10 in the test environment.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/describe-rtc-stream-state

    :param sequence: orders the calls about one stream. It must increase within any ten seconds. With None
        (default), the client counts up from the time in milliseconds, as ZEGO advises.
    :param stream_id: the stream, at most 256 bytes; in a test environment ``zegotest-<AppId>-<id>``.
    :returns: ``RTCStreamState``: ``is_alive``, and when the stream was created and closed.
    :raises ServerError: 41001 or 41002: a fault inside ZEGO; the client tries again.
    """

    quota = Quota(40)
    test_quota = Quota(10)
    result_codes = frozenset({STREAM_NOT_FOUND, STREAM_CLOSED})
    result = RTCStreamState

    stream_id: str = field(validator=VALID_STREAM_ID)
