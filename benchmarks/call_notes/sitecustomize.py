"""Notes which files of Fedshelf a process enters, and when; see `benchmarks.files_of_a_round`.

Python imports this file at the start of every process that has its folder in PYTHONPATH. A note is
a line in a file of the process: seconds of `time.monotonic`, "call" or "return", and a file; or in
place of the file the function whose beginning and end are asked for.
"""

import inspect
import os
import sys
import threading
import time
from types import FrameType

NOTES = os.environ["CALL_NOTES"]  # folder
PACKAGE = os.environ["CALL_NOTES_PACKAGE"] + os.sep
SPANS = os.environ["CALL_NOTES_SPANS"].split(",")  # functions whose beginning and end are noted
PAUSE_SECONDS = 0.002  # between two notes of one file

noted: dict[str, float] = {}


def note(frame: FrameType, event: str, _: object) -> None:
    """Note a call of ours; a profile function of `sys.setprofile`."""
    code = frame.f_code
    # bodies of modules and classes run when they are imported
    if event not in ("call", "return") or not code.co_flags & inspect.CO_NEWLOCALS:
        return
    if not code.co_filename.startswith(PACKAGE):
        return
    now = time.monotonic()
    if code.co_qualname in SPANS:
        write(f"{now} {event} {code.co_qualname}")
    if event == "call" and now > noted.get(code.co_filename, 0.0) + PAUSE_SECONDS:
        noted[code.co_filename] = now
        write(f"{now} call {code.co_filename.removeprefix(PACKAGE)}")


def write(line: str) -> None:
    """Append a line to the file of this process, which may have been forked since the last one."""
    file = os.open(f"{NOTES}/{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode() + b"\n")
    os.close(file)


threading.setprofile(note)
sys.setprofile(note)
