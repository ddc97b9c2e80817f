"""The actions of ``media_service.py`` as methods: ``python -m tests.method_source`` has written this file."""

from collections.abc import Sequence

from volc_moderation.client import Client
from volc_moderation.zego.actions import Done
from volc_moderation.zego.media_service import (
    DescribeRTCStreamState,
    ForbidRTCStream,
    ForbidRTCStreams,
    ResumeRTCStream,
    ResumeRTCStreams,
    RTCStreamState,
)


class MediaServiceMethods(Client):
    """One method for each action, which it creates and calls."""

    async def forbid_rtc_stream(self, *, sequence: str | None = None, stream_id: str) -> Done:
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
        action = ForbidRTCStream(sequence=sequence, stream_id=stream_id)
        return (await self.call(action)).result

    async def resume_rtc_stream(self, *, sequence: str | None = None, stream_id: str) -> Done:
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
        action = ResumeRTCStream(sequence=sequence, stream_id=stream_id)
        return (await self.call(action)).result

    async def forbid_rtc_streams(self, *, sequence: str | None = None, stream_id: Sequence[str]) -> Done:
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
        action = ForbidRTCStreams(sequence=sequence, stream_id=stream_id)
        return (await self.call(action)).result

    async def resume_rtc_streams(self, *, sequence: str | None = None, stream_id: Sequence[str]) -> Done:
        """Allow several streams to be published again.

        Quota: 20 calls per second and AppId; 5 in the test environment.

        https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/resume-rtc-streams

        :param sequence: orders the calls about one stream. It must increase within any ten seconds. With None
            (default), the client counts up from the time in milliseconds, as ZEGO advises.
        :param stream_id: 1 to 20 streams, each at most 256 bytes; in a test environment ``zegotest-<AppId>-<id>``.
        :returns: ``Done``: success, without data.
        :raises TemporaryError: 42004: ZEGO failed to resume the streams; the client tries again.
        """
        action = ResumeRTCStreams(sequence=sequence, stream_id=stream_id)
        return (await self.call(action)).result

    async def describe_rtc_stream_state(self, *, sequence: str | None = None, stream_id: str) -> RTCStreamState:
        """Check whether a stream is being published. If it is closed or does not exist, that is a result, not an error.

        Quota: 40 calls per second and AppId; 10 in the test environment.

        https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/describe-rtc-stream-state

        :param sequence: orders the calls about one stream. It must increase within any ten seconds. With None
            (default), the client counts up from the time in milliseconds, as ZEGO advises.
        :param stream_id: the stream, at most 256 bytes; in a test environment ``zegotest-<AppId>-<id>``.
        :returns: ``RTCStreamState``: ``is_alive``, and when the stream was created and closed.
        :raises ServerError: 41001 or 41002: a fault inside ZEGO; the client tries again.
        """
        action = DescribeRTCStreamState(sequence=sequence, stream_id=stream_id)
        return (await self.call(action)).result
