"""Runs queries in Flink SQL, in a process with PyFlink: a JSON list of queries on standard input, a line of JSON for each on
standard output. In streaming mode with one task and a watermark after every row, so that results are a function of the files."""

import decimal
import json
import re
import sys
import traceback

from pyflink.common import Configuration, RowKind
from pyflink.table import EnvironmentSettings, TableEnvironment


def environment(zone, tables):
    """A session with the tables."""
    config = Configuration()
    for key, value in {
        "parallelism.default": "1",
        "pipeline.auto-watermark-interval": "0 ms",
        "restart-strategy.type": "none",
        "table.local-time-zone": zone,
    }.items():
        config.set_string(key, value)
    session = TableEnvironment.create(EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(config).build())
    for table in tables:
        session.execute_sql(table)
    return session


def plain(value):
    """A value as JSON; a decimal as text, which keeps its digits."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value) if isinstance(value, decimal.Decimal) else value.isoformat()


def run(session, sql):
    """The rows of a query as they are in the end: where Flink updates its results, only the last of them count."""
    rows = []
    with session.execute_sql(sql).collect() as results:
        for row in results:
            values = [plain(value) for value in row]
            if row.get_row_kind() in (RowKind.UPDATE_BEFORE, RowKind.DELETE):
                rows.remove(values)
            else:
                rows.append(values)
    return rows


def cause(error):
    """The innermost exception that a Java stack trace names."""
    lines = [line.strip().removeprefix("Caused by: ") for line in str(error).splitlines()]
    causes = [line for line in lines if re.match(r"[\w.$]+(Exception|Error): ", line)]
    return (causes or lines or [type(error).__name__])[-1]


def main():
    request = json.load(sys.stdin)
    sessions = {}
    for query in request["queries"]:
        zone = query["zone"]
        answer = {"name": query["name"]}
        try:
            if zone not in sessions:
                sessions[zone] = environment(zone, request["tables"])
            answer["rows"] = run(sessions[zone], query["sql"])
        except Exception as error:  # whatever Flink throws is a result here
            answer["error"] = cause(error)
            traceback.print_exc()
        print("answer> " + json.dumps(answer), flush=True)


main()
