"""An emulator of both vendors on one port, for demos and tests: signatures, quotas, tasks, callbacks and faults."""

from volc_moderation.extras import require_extra

require_extra("emulator", used_by=__name__)

# ruff: noqa: E402 - these import the extra
from volc_moderation.emulator.app import Emulator, Settings
from volc_moderation.emulator.faults import Fault
from volc_moderation.emulator.process import EmulatorProcess
from volc_moderation.emulator.server import Listener, listen, serve

__all__ = ["Emulator", "EmulatorProcess", "Fault", "Listener", "Settings", "listen", "serve"]
