#!/usr/bin/env python3
"""Run every panel of the Grafana dashboards on a ClickHouse, without a Grafana.

    dashboards/check.py http://127.0.0.1:8123
    dashboards/check.py http://127.0.0.1:8123 --expect-rows --from now-7d --set database=shop
    dashboards/check.py --static                    # the JSON files only, no ClickHouse

Each dashboard's variables are resolved (query variables by asking ClickHouse), the macros of the plugin
grafana-clickhouse-datasource are expanded as it does (pkg/macros and applyConditionalAll of its source), and each
target is run: once with every variable on "All", and once with one value chosen. A result must be what Grafana's panels
need; what that is, stands at `check_result`. Exit code: 0 all well, 1 a check failed, 2 wrong use or no ClickHouse.
Only Python's standard library is used."""

import argparse
import base64
import json
import pathlib
import re
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
TIME_TYPE = re.compile(r"^(Nullable\()?(DateTime|Date)")
NUMBER_TYPE = re.compile(r"^(Nullable\()?(U?Int(8|16|32|64)|Float(32|64)|Decimal)")
LABEL_TYPE = re.compile(r"^(LowCardinality\()?(Nullable\()?(String|FixedString)")


class CheckError(Exception):
    """What is wrong with a dashboard, in words for the person who mends it."""


class ClickHouse:
    """The HTTP interface of a ClickHouse server."""

    def __init__(self, url, user, password):
        self.url = url.rstrip("/") + "/"
        self.headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password} if user else {}
        match = re.match(r"^(https?://)([^/@]+)@(.*)$", self.url)
        if match:  # user:password@ in the URL
            self.url = match.group(1) + match.group(3)
            self.headers["Authorization"] = "Basic " + base64.b64encode(match.group(2).encode()).decode()

    def query(self, sql):
        """(names, types, rows) of a SELECT; CheckError with ClickHouse's own words if it refuses."""
        body = (sql.rstrip().rstrip(";") + "\nFORMAT JSONCompact").encode()
        request = urllib.request.Request(self.url + "?output_format_json_quote_64bit_integers=0", body, self.headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise CheckError("ClickHouse refuses it: " + error.read().decode(errors="replace").strip()) from error
        return [c["name"] for c in answer["meta"]], [c["type"] for c in answer["meta"]], answer["data"]


def seconds(text, now):
    """Epoch seconds of `now`, `now-6h`, `now/d` (rounding is left out) or a number."""
    match = re.fullmatch(r"now(?:([+-])(\d+)([smhdw]))?(?:/[smhdwMy])?", text)
    if match:
        return now + (0 if not match[1] else int(match[1] + match[2]) * UNITS_S[match[3]])
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    raise CheckError(f"cannot read the time `{text}`: use now, now-6h or epoch seconds")


def call_arguments(sql, at):
    """Arguments of the call whose opening bracket is sql[at], and the index after its closing bracket."""
    depth, start, arguments = 0, at + 1, []
    for i in range(at, len(sql)):
        if sql[i] == "(":
            depth += 1
        elif sql[i] == ")":
            depth -= 1
        if (sql[i] == "," and depth == 1) or depth == 0:
            arguments.append(sql[start:i])
            start = i + 1
        if depth == 0:
            return arguments, i + 1
    raise CheckError(f"no closing bracket after `{sql[at - 20:at + 1]}`")


def expand_macros(sql, start_s, end_s, interval_s):
    """The plugin's server-side macros, innermost last as they do not nest."""
    second = lambda s: f"toDateTime({int(s)})"
    milli = lambda s: f"fromUnixTimestamp64Milli({int(s * 1000)})"
    date = lambda s: "toDate('" + time.strftime("%Y-%m-%d", time.gmtime(s)) + "')"
    between = lambda column, how: f"{column} >= {how(start_s)} AND {column} <= {how(end_s)}"
    macros = {
        "timeFilter": (1, lambda c: between(c, second)),
        "timeFilter_ms": (1, lambda c: between(c, milli)),
        "dateFilter": (1, lambda c: between(c, date)),
        "dateTimeFilter": (2, lambda d, t: f"({between(d, date)}) AND ({between(t, second)})"),
        "dt": (2, lambda d, t: f"({between(d, date)}) AND ({between(t, second)})"),
        "timeInterval": (1, lambda c: f"toStartOfInterval(toDateTime({c}), INTERVAL {max(int(interval_s), 1)} second)"),
        "timeInterval_ms": (
            1,
            lambda c: f"toStartOfInterval(toDateTime64({c}, 3), INTERVAL {max(int(interval_s * 1000), 1)} millisecond)",
        ),
        "fromTime": (0, lambda: second(start_s)),
        "toTime": (0, lambda: second(end_s)),
        "fromTime_ms": (0, lambda: milli(start_s)),
        "toTime_ms": (0, lambda: milli(end_s)),
        "interval_s": (0, lambda: str(max(int(interval_s), 1))),
    }
    for name in sorted(macros, key=len, reverse=True):
        count, function = macros[name]
        while match := re.search(r"\$__" + name + r"\b", sql):
            arguments, end = [], match.end()
            if sql[end : end + 1] == "(":
                arguments, end = call_arguments(sql, end)
                arguments = [a.strip() for a in arguments if a.strip()]
            if len(arguments) != count:
                raise CheckError(f"$__{name} takes {count} arguments, not {len(arguments)}")
            sql = sql[: match.start()] + function(*arguments) + sql[end:]
    return sql


def expand_conditional_all(sql, variables):
    """$__conditionalAll(condition, $v): the condition, or 1=1 while v is on All."""
    while (at := sql.rfind("$__conditionalAll(")) >= 0:
        arguments, end = call_arguments(sql, at + len("$__conditionalAll"))
        if len(arguments) != 2:
            raise CheckError(f"$__conditionalAll takes 2 arguments, not {len(arguments)}")
        name = re.search(r"\w+", arguments[1])
        if not name or name[0] not in variables:
            raise CheckError(f"$__conditionalAll names no variable of the dashboard: `{arguments[1].strip()}`")
        phrase = "1=1" if variables[name[0]]["all"] else arguments[0]
        sql = sql[:at] + phrase + sql[end:]
    return sql


def expand_variables(sql, variables):
    """$v, ${v}, ${v:format} and [[v]]; several values become a quoted list."""

    def replace(match):
        name, how = match[1] or match[3] or match[4], match[2]
        if name not in variables:
            return match[0]
        values = variables[name]["values"]
        quoted = ",".join("'" + v.replace("'", "''") + "'" for v in values)
        if how in ("sqlstring", "singlequote") or (how is None and variables[name]["multi"]):
            return quoted
        if how in (None, "raw", "csv", "text"):
            return ",".join(values)
        raise CheckError(f"the format `{how}` of ${{{name}:{how}}} is not known to this script")

    return re.sub(r"\$\{(\w+)(?::(\w+))?\}|\[\[(\w+)\]\]|\$(?!__)(\w+)", replace, sql)


def expand(sql, variables, start_s, end_s, interval_s):
    """SQL as the plugin would send it."""
    sql = expand_conditional_all(sql, variables)
    sql = expand_macros(expand_variables(sql, variables), start_s, end_s, interval_s)
    if "$" in sql:
        raise CheckError("something with a $ is left that neither a variable nor a macro explains")
    return sql


def resolve_variables(dashboard, clickhouse, chosen, span):
    """name -> values, all, multi; query variables in the order of the dashboard, so that they may use earlier ones."""
    variables = {}
    for v in dashboard.get("templating", {}).get("list", []):
        name, kind = v["name"], v["type"]
        current = v.get("current", {}).get("value", v.get("query", ""))
        values = current if isinstance(current, list) else [str(current)]
        is_all = values == ["$__all"]
        if name in chosen:
            values, is_all = [chosen[name]], False
        elif kind == "query":
            text = v["query"] if isinstance(v["query"], str) else v["query"].get("rawSql", "")
            names, _, rows = clickhouse.query(expand(text, variables, *span))
            if any(row[-1] is None for row in rows):
                raise CheckError(f"variable `{name}` has a NULL among its values, which Grafana cannot choose")
            values = [str(row[-1]) for row in rows]
        elif is_all:
            values = v["query"].split(",") if kind == "custom" else []
        variables[name] = {"values": values, "all": is_all, "multi": bool(v.get("multi"))}
    return variables


def panels_of(dashboard):
    """Panels with targets, those in collapsed rows too."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def check_static(dashboard):
    """What can be said of the JSON alone."""
    problems = []
    for key in ("uid", "title", "schemaVersion", "panels", "time"):
        if key not in dashboard:
            problems.append(f"the dashboard has no `{key}`")
    ids, cells = set(), {}
    for panel in panels_of(dashboard):
        title = panel.get("title") or f"panel {panel.get('id')}"
        if panel.get("id") in ids:
            problems.append(f"{title}: id {panel.get('id')} is taken twice")
        ids.add(panel.get("id"))
        g = panel["gridPos"]
        if g["x"] + g["w"] > 24:
            problems.append(f"{title}: reaches beyond the 24 columns of the grid")
        for cell in ((x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])):
            if cells.setdefault(cell, title) != title:
                problems.append(f"{title}: lies over `{cells[cell]}`")
                break
        if not panel.get("description"):
            problems.append(f"{title}: has no description")
        refs = [t.get("refId") for t in panel.get("targets", [])]
        if len(refs) != len(set(refs)):
            problems.append(f"{title}: a refId is taken twice")
        for target in panel.get("targets", []):
            if panel["type"] == "timeseries" and target.get("format") != 0:
                problems.append(f"{title}: a time series panel needs format 0, not {target.get('format')}")
            if re.search(r"\bFINAL\b", target["rawSql"]):
                problems.append(f"{title}: FINAL belongs into Highwater's views, not into a panel")
    return problems


def check_result(panel, target, names, types, rows, expect_rows):
    """What a panel needs of its rows. Of a time series (format 0): a DateTime first and no other time column (it would be
    drawn as a value), at least one number, everything else a String (it becomes a label; a numeric id would be drawn),
    rows in ascending time (else the plugin answers with an error), and one row for each time and set of labels."""
    if expect_rows and not rows:
        raise CheckError("no rows")
    numbers = [i for i, t in enumerate(types) if NUMBER_TYPE.match(t)]
    if panel["type"] in ("stat", "gauge", "bargauge", "barchart", "piechart") and not numbers:
        raise CheckError(f"no number among {list(zip(names, types))}")
    if panel["type"] in ("barchart", "piechart") and not LABEL_TYPE.match(types[0]):
        raise CheckError(f"the first column `{names[0]}` is {types[0]}: it must be a String to name the bars")
    if panel["type"] == "stat" and expect_rows and any(rows[0][i] is None for i in numbers):
        raise CheckError("the number is NULL")
    if panel.get("options", {}).get("xField", names[0]) not in names:
        raise CheckError(f"xField `{panel['options']['xField']}` is no column of the result")
    if target.get("format") != 0:
        return
    times = [i for i, t in enumerate(types) if TIME_TYPE.match(t)]
    if times != [0]:
        raise CheckError(f"a time series has one time column, the first; here they are {[names[i] for i in times]}")
    if not types[0].startswith("DateTime"):
        raise CheckError(f"the time `{names[0]}` is {types[0]}: a DateTime that is not Nullable is needed")
    if not numbers:
        raise CheckError(f"no number among {list(zip(names, types))}")
    labels = [i for i in range(1, len(types)) if i not in numbers]
    for i in labels:
        if not LABEL_TYPE.match(types[i]):
            raise CheckError(f"the label `{names[i]}` is {types[i]}: make it a String")
    for i in numbers:
        if re.search(r"(^|_)id$", names[i]):
            raise CheckError(f"`{names[i]}` is a number and would be drawn as a value: use toString({names[i]})")
    stamps = [row[0] for row in rows]
    if stamps != sorted(stamps):
        raise CheckError("the rows are not in ascending time: ORDER BY time")
    keys = [(row[0], *(row[i] for i in labels)) for row in rows]
    if len(keys) != len(set(keys)):
        raise CheckError("there are two rows of the same time and labels: GROUP BY them")


def check_dashboard(path, options, clickhouse):
    """Problems found in one file, and what each run gave."""
    dashboard = json.loads(path.read_text())
    problems = [f"{path.name}: {p}" for p in check_static(dashboard)]
    runs = []
    if clickhouse is None:
        return problems, runs
    start_s = seconds(options.start or dashboard["time"]["from"], options.now)
    end_s = seconds(options.end or dashboard["time"]["to"], options.now)
    interval_s = max((end_s - start_s) / 1000, 1)
    try:
        variables = resolve_variables(dashboard, clickhouse, options.set, (start_s, end_s, interval_s))
    except CheckError as error:
        return problems + [f"{path.name}: variables: {error}"], runs
    one = {n: {**v, "values": v["values"][:1], "all": False} if v["all"] else v for n, v in variables.items()}
    passes = [("all", variables)] + ([("one value", one)] if one != variables else [])
    for panel in panels_of(dashboard):
        for target in panel.get("targets", []):
            for label, chosen in passes:
                run = {"dashboard": path.name, "panel": panel["title"], "ref": target["refId"], "variables": label}
                try:
                    run["sql"] = expand(target["rawSql"], chosen, start_s, end_s, interval_s)
                    names, types, rows = clickhouse.query(run["sql"])
                    may_be_empty = label != "all" or panel["title"] in options.may_be_empty
                    check_result(panel, target, names, types, rows, options.expect_rows and not may_be_empty)
                    sums = {
                        n: sum(row[i] or 0 for row in rows)
                        for i, (n, t) in enumerate(zip(names, types))
                        if NUMBER_TYPE.match(t)
                    }
                    run.update(rows=len(rows), columns=dict(zip(names, types)), sums=sums)
                except CheckError as error:
                    run["error"] = str(error)
                    problems.append(f"{path.name}: {panel['title']} ({label}): {error}")
                runs.append(run)
    return problems, runs


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", help="ClickHouse's HTTP interface, with user:password@ if need be")
    parser.add_argument("files", nargs="*", type=pathlib.Path, help="dashboards (default: all of dashboards/grafana)")
    parser.add_argument("--static", action="store_true", help="look at the JSON only")
    parser.add_argument("--expect-rows", action="store_true", help="every panel must have rows")
    parser.add_argument("--may-be-empty", action="append", default=[], metavar="TITLE", help="except this panel")
    parser.add_argument("--from", dest="start", metavar="T", help="now-6h or epoch seconds (default: the dashboard's)")
    parser.add_argument("--to", dest="end", metavar="T")
    parser.add_argument("--now", type=float, default=time.time(), metavar="S", help="epoch seconds to take for now")
    parser.add_argument("--set", action="append", default=[], metavar="VARIABLE=VALUE")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--json", action="store_true", help="print what each run gave as JSON (SQL, rows, columns, sums)")
    options = parser.parse_args()
    options.set = dict(s.split("=", 1) for s in options.set)
    if not options.static and not options.url:
        parser.error("give a ClickHouse URL, or --static")
    return options


def main():
    options = parse_arguments()
    clickhouse = None if options.static else ClickHouse(options.url, options.user, options.password)
    files = options.files or sorted((HERE / "grafana").glob("*.json"))
    problems, runs = [], []
    try:
        for path in files:
            found, done = check_dashboard(path, options, clickhouse)
            problems += found
            runs += done
    except (urllib.error.URLError, OSError, CheckError) as error:
        print(f"check.py: {error}", file=sys.stderr)
        return 2
    if options.json:
        json.dump(runs, sys.stdout, indent=1)
        print()
    else:
        for run in runs:
            outcome = "FAILED" if "error" in run else f"{run['rows']} rows, sums {run['sums']}"
            print(f"{run['dashboard']}: {run['panel']} ({run['variables']}): {outcome}")
    for problem in problems:
        print(f"PROBLEM {problem}", file=sys.stderr)
    print(f"{len(files)} dashboards, {len(runs)} queries, {len(problems)} problems", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
