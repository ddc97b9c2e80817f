"""Volcengine RTC, as its documents describe it."""

from volc_moderation.emulator.volcengine.account import Volcengine

__all__ = ["Volcengine"]
