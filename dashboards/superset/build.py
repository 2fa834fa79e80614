#!/usr/bin/env python3
"""Make the zip that `superset import-dashboards` takes from the files in export/, with the address of ClickHouse filled in.

    dashboards/superset/build.py clickhousedb+connect://USER:PASSWORD@HOST:8123/shop highwater.zip
    dashboards/superset/build.py URI highwater.zip --database shop     # where Highwater's tables are (default: of the URI)

A password with reserved characters must be percent-encoded in the URI. The URI is not in the repository because Superset
masks passwords when it exports, and refuses to import a masked one. The same input gives the same bytes."""

import argparse
import json
import pathlib
import sys
import urllib.parse
import zipfile

EXPORT = pathlib.Path(__file__).resolve().parent / "export"


def build(uri, database, target):
    """Write the archive to `target` and return the names in it."""
    # JSON's strings are YAML's double-quoted ones, so that any password is safe
    values = {"'{{CLICKHOUSE_URI}}'": json.dumps(uri), "'{{DATABASE}}'": json.dumps(database)}
    names = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(EXPORT.rglob("*.yaml")):
            text = path.read_text()
            for placeholder, value in values.items():
                text = text.replace(placeholder, value)
            if "{{" in text:
                raise SystemExit(f"build.py: a placeholder is left in {path}")
            name = "highwater/" + path.relative_to(EXPORT).as_posix()
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text)
            names.append(name)
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("uri", help="SQLAlchemy URI of ClickHouse's HTTP port")
    parser.add_argument("target", type=pathlib.Path, help="the zip to write")
    parser.add_argument("--database", help="ClickHouse database of the tables")
    options = parser.parse_args()
    database = options.database or urllib.parse.urlsplit(options.uri).path.strip("/")
    if not database:
        parser.error("the URI names no database; add it, or give --database")
    names = build(options.uri, database, options.target)
    print(f"{options.target}: {len(names)} files", file=sys.stderr)


if __name__ == "__main__":
    main()
