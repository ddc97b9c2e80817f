"""ZEGO: streaming moderation."""

from volc_moderation.zego.actions import CensorTask, Done, StartCensorAudioV2, StopCensorAudioV2, ZegoAction
from volc_moderation.zego.client import ZegoClient

__all__ = ["CensorTask", "Done", "StartCensorAudioV2", "StopCensorAudioV2", "ZegoAction", "ZegoClient"]
