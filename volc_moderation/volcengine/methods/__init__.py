"""Every action of Volcengine RTC as a method of the client. It creates the action, calls it, and returns its result."""

from volc_moderation.volcengine.methods.detection import DetectionMethods
from volc_moderation.volcengine.methods.message import MessageMethods
from volc_moderation.volcengine.methods.room import RoomMethods
from volc_moderation.volcengine.methods.webcast import WebcastMethods


class VolcengineMethods(DetectionMethods, WebcastMethods, RoomMethods, MessageMethods):
    """One method for each action, with its docstring. Errors that all calls have in common are those of ``call``."""
