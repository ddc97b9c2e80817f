"""Both vendors on one port, to try and to test against: signatures, quotas, tasks, faults, delays."""

from volc_moderation.emulator.app import Emulator, Settings
from volc_moderation.emulator.faults import Fault
from volc_moderation.emulator.server import EmulatorProcess, listen, serve

__all__ = ["Emulator", "EmulatorProcess", "Fault", "Settings", "listen", "serve"]
