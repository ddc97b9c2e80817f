"""ZEGO's Server API, as its documents describe it."""

from volc_moderation.emulator.zego.project import Zego

__all__ = ["Zego"]
