"""The script that `mitmproxy -s` loads: `mitmdump -s addons/recorder.py --set tapeline_data=.tapeline`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__ == "tapeline.addons":
    from .tapeline_recorder.hooks import Recorder
else:  # mitmproxy runs this file outside its package, with this folder on sys.path.
    from tapeline_recorder.hooks import Recorder

addons = [Recorder()]
