"""How a command ends: a user's mistake or a signal in one message and an exit code, never a traceback."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from fuxictr_stem.errors import Stopped, UserError
from fuxictr_stem.runtime import signals
from fuxictr_stem.runtime.logs import log_to_console

logger = logging.getLogger(__name__)

RESUME_GOES_ON = "The same command with --resume continues a run."
LOST_RANK_GOES_ON = "The same command with --resume continues from the last state, if there is one."


def run_guarded(run: Callable[[], int | None], advice: str) -> int:
    """Run something with logging to the console; return its exit code, 2 after a user's mistake.

    ``advice`` says how to continue after a signal: a sentence, or nothing.
    """
    log_to_console()
    try:
        with signals.obeyed(advice):
            code = run()
            signals.check()
    except UserError as error:
        logger.debug("Stopped by a user error.", exc_info=True)
        _complain(f"error: {error}")
        return 2
    except BaseException as error:
        stopped = _stop_behind(error, advice)
        if stopped is None:
            raise
        _complain(str(stopped))
        return 128 + stopped.signal
    return code or 0


def _complain(text: str) -> None:
    with suppress(OSError):  # the console may be gone
        print(text, file=sys.stderr)


def _stop_behind(error: BaseException | None, advice: str) -> Stopped | None:
    """Return the signal behind an error: FuxiCTR has bare excepts that raise another one."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    if error is None or isinstance(error, Stopped):
        return error
    return signals.stopped(signal.SIGINT, advice)
