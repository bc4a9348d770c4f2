from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dbt.adapters.lakehouse import tables

AT_ONCE = """
import importlib, sys, threading
sys.setswitchinterval(1e-5)
names = sys.argv[1:]
barrier = threading.Barrier(len(names))
failed = []
def load(name):
    barrier.wait()
    try:
        importlib.import_module(f"dbt.adapters.lakehouse.tables.{name}")
    except BaseException as error:
        failed.append(f"{name}: {error}")
threads = [threading.Thread(target=load, args=(name,)) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("; ".join(failed))
sys.exit(1 if failed else 0)
"""


def test_threads_may_come_in_by_any_modules_at_once():
    names = sorted(path.stem for path in Path(tables.__path__[0]).glob("*.py") if path.stem != "__init__")
    done = subprocess.run([sys.executable, "-c", AT_ONCE, *names], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
