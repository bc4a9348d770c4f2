"""What the pool's side of a worker process hears."""

from __future__ import annotations

from dbt.adapters.lakehouse.executors.worker_process import Died, LastWords
from dbt.adapters.lakehouse.jobs.job import LogLine, Progress


def test_the_last_words_survive_a_long_dump_of_threads() -> None:
    heard: list[object] = []
    said = LastWords()
    watch = said.listening(heard.append)
    dump = [f'  File "threading.py", line {line} in run' for line in range(500)]
    lines = ["one", *"23456", "", "Fatal Python error: Aborted", "", "Thread 0x00007f (most recent call first):", *dump]
    watch(Progress(seconds=1))
    for line in lines:
        watch(LogLine(text=line, stream="stderr"))
    assert len(heard) == 1 + len(lines)
    assert said.lines() == ["3", "4", "5", "6", "Fatal Python error: Aborted"]
    assert str(Died(-6, said.lines())) == (
        "the worker process was killed by SIGABRT; it said last: 3 | 4 | 5 | 6 | Fatal Python error: Aborted"
    )
    assert str(Died(3, [])) == "the worker process exited with code 3"
