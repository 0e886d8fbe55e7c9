"""When a running connector reloads its configuration: on SIGHUP, on a changed file, and by a request.

The main thread looks several times a second, and a reload runs in a thread of its own. A file with a mistake never
takes effect: the log, the answer to the request and a notice say what is wrong, and where. With `workers`, the
supervisor checks the file first, and then asks its workers to reload it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from connector import ConnectorError
from connector.pipeline.notices import Notices
from connector.runtime.reload import Changes, ReloadRefusedError, compare
from connector.runtime.requests import RequestFiles
from connector.runtime.tag_lists import Stamp, stamp_of
from connector.threads.watched import WatchedThread, moves

if TYPE_CHECKING:
    from connector.config.model import Config

_WATCH_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.1
_WORKER_SECONDS: Final = 60.0
"""The longest wait for the answer of a worker, beside `delivery.flush_timeout`."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReloadRequest:
    """A request to reload the configuration file."""


@dataclass(frozen=True, slots=True)
class ReloadAnswer:
    """The end of a reload."""

    done: bool
    """Whether the file is in use now."""
    lines: Sequence[str]
    """What has changed, or what is wrong, for people."""


ReloadFiles: TypeAlias = RequestFiles[ReloadRequest, ReloadAnswer]


def reload_files(folder: Path, *, of_worker: bool = False) -> ReloadFiles:
    """Returns the files of a state folder; those `of_worker` are between a worker and its supervisor."""
    return RequestFiles(folder, "reload.worker" if of_worker else "reload", ReloadRequest, ReloadAnswer)


class FileWatch:
    """Notices a change of some files: a change counts after one look without a further one."""

    def __init__(self, files: Callable[[], Sequence[Path]]) -> None:
        """`files` returns the files of the present configuration."""
        self._files = files
        self._judged = self._seen = self._stamps()

    def changed(self) -> bool:
        """Whether the files differ from the files at the last `note`, and did not change since the call before."""
        before, self._seen = self._seen, self._stamps()
        return self._seen != self._judged and self._seen == before

    def note(self) -> None:
        """Take the present files as known; to be called before they are read."""
        self._judged = self._seen = self._stamps()

    def _stamps(self) -> list[tuple[Path, Stamp]]:
        return [(file, stamp_of(file)) for file in self._files()]


class Reloads:
    """The reloads of one process."""

    def __init__(
        self,
        file: Path,
        watch: FileWatch,
        load: Callable[[], Config],
        use: Callable[[Config, Callable[[], bool]], Changes],
        files: ReloadFiles,
        notices: Notices,
        *,
        watches: bool | None,
        signals: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`load` reads and checks the file; `use` applies a configuration, unless the function given to it says that
        the connector stops. Both raise `ConnectorError`. With `watches`, a changed file is reloaded; None: never,
        whatever the file says. `signals` returns
        the number of signals so far that asked for a reload. `clock` gives seconds."""
        files.clear()
        self._file = file
        self._watch = watch
        self._load = load
        self._use = use
        self._files = files
        self._notices = notices
        self._watches = watches
        self._clock = clock
        self._watch_due = clock() + _WATCH_SECONDS
        self._signals = signals
        self._answered = 0
        self._stopping = False
        self.thread: WatchedThread | None = None
        """The thread of the present or last reload."""

    def look(self) -> None:
        """Begin a reload if one is due, and none is under way."""
        if self._stopping or (self.thread is not None and self.thread.is_alive()):
            return
        signals = self._signals()
        request = self._files.asked()
        if signals != self._answered:
            why = "SIGHUP"
        elif request is not None:
            why = "the command reload"
        elif self._watches and self._has_changed():
            why = "the file has changed"
        else:
            return
        self._answered = signals
        self.thread = WatchedThread("reload", "", lambda: self._reload(why, asked=request is not None))
        self.thread.start()

    def close(self, timeout: float) -> None:
        """End soon: a reload leaves out what it has not begun. Waits at most `timeout` seconds."""
        self._stopping = True
        if self.thread is not None and self.thread.ident is not None:
            self.thread.join(timeout)

    def _has_changed(self) -> bool:
        now = self._clock()
        if now < self._watch_due:
            return False
        self._watch_due = now + _WATCH_SECONDS
        return self._watch.changed()

    def _reload(self, why: str, *, asked: bool) -> None:
        began = self._clock()
        self._watch.note()
        try:
            config = self._load()
            changes = self._use(config, lambda: self._stopping)
        except ConnectorError as error:
            if self._stopping:
                _log.info("reload_left_out", config=str(self._file), why=why, effect="the next start uses the file")
                return
            answer = self._refuse(why, getattr(error, "lines", None) or str(error).split("\n"))
        except Exception as error:  # noqa: BLE001 - a reload that fails must not end the connector
            _log.exception("reload_failed", config=str(self._file))
            answer = self._refuse(why, [f"{self._file}: {error!r}; please report this"])
        else:
            self._watches = None if self._watches is None else config.reload == "watch"
            self._notices.over("reload_refused", "", str(self._file))
            seconds = round(self._clock() - began, 2)
            _log.info("reloaded", config=str(self._file), why=why, **changes.as_fields(), seconds=seconds)
            answer = ReloadAnswer(done=True, lines=changes.lines())
        if asked:
            self._files.tell(answer)

    def _refuse(self, why: str, lines: Sequence[str]) -> ReloadAnswer:
        effect, remedy = "the configuration in use stays, as a whole", "mend the file, and reload it"
        _log.error("reload_refused", config=str(self._file), why=why, mistakes=[*lines], effect=effect, remedy=remedy)
        text = f"{lines[0]}{f' ({len(lines) - 1} more)' if len(lines) > 1 else ''}: {effect}"
        self._notices.say("reload_refused", "", str(self._file), text, remedy, times=0, logged=False)
        return ReloadAnswer(done=False, lines=lines)


class WorkersReload:
    """Reloads in a supervisor: checks the configuration, and asks each worker that runs to use it."""

    def __init__(self, config: Config, workers: Mapping[int, ReloadFiles]) -> None:
        """`workers` has the files of each worker, by its number."""
        self.config = config
        """The configuration in use."""
        self._workers = workers

    def use(self, config: Config, stopping: Callable[[], bool]) -> Changes:
        """Ask all workers, and wait for their answers. Raises `ReloadRefusedError`."""
        changes = compare(self.config, config)
        asked = {worker: files for worker, files in self._workers.items() if files.running()}
        for worker, files in asked.items():
            try:
                files.ask(ReloadRequest())
            except OSError as error:
                raise ReloadRefusedError(f"worker {worker} cannot be asked: {error.strerror or error}") from None
        until = time.monotonic() + _WORKER_SECONDS + config.delivery.flush_timeout
        problems: list[str] = []
        while asked and not stopping():
            moves()
            for worker, files in list(asked.items()):
                answer = files.told()
                if answer is None and files.running() and time.monotonic() < until:
                    continue
                del asked[worker]  # a worker that has ended reads the file at its next start
                if answer is None and time.monotonic() >= until:
                    problems.append(f"worker {worker} has not answered; see its log")
                elif answer is not None and not answer.done:
                    problems += [f"worker {worker}: {line}" for line in answer.lines]
            time.sleep(_LOOK_SECONDS)
        if problems:
            raise ReloadRefusedError(*problems)
        self.config = config
        return changes
