#!/usr/bin/env python3
"""The same windowed queries in Flink SQL and here, over the same files: `make compare-flink`.

Writes the table between the marks in docs/semantics.md. Exit code 1 where results differ without a reason in queries.sql, or
where there is a reason and they agree. Needs a JVM (Java 11, 17 or 21); Flink is installed with pip into a folder outside of the checkout.
"""

import argparse
import collections
import concurrent.futures
import datetime
import decimal
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zoneinfo

import data

FLINK = "2.3.0"
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "highwater" / "flink"
PAGE, BEGIN, END = ROOT / "docs" / "semantics.md", "<!-- compare-flink: written by make compare-flink -->", "<!-- /compare-flink -->"
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")


class Query:
    """A query of queries.sql."""

    def __init__(self, name, title):
        self.name, self.title, self.differs, self.zone = name, title, None, "UTC"
        self.sql = {"flink": [], "highwater": []}


def read_queries():
    """The queries, in their order."""
    queries, of = [], ()
    for line in (HERE / "queries.sql").read_text(encoding="utf-8").splitlines():
        comment = re.fullmatch(r"-- (\w+)(?:: (.*))?", line)
        if comment and comment[1] == "differs":
            queries[-1].differs = comment[2]
        elif comment and comment[1] == "zone":
            queries[-1].zone = comment[2]
        elif comment and comment[1] in ("flink", "highwater") and not comment[2]:
            of = (comment[1],)
        elif comment and comment[2]:
            queries.append(Query(comment[1], comment[2]))
            of = ("flink", "highwater")
        elif queries and not line.startswith("--"):
            for engine in of:
                queries[-1].sql[engine].append(line)
    for query in queries:
        query.sql = {engine: "\n".join(lines).strip() for engine, lines in query.sql.items()}
    return queries


def python_with_flink():
    """The interpreter of an environment that has PyFlink; made when it is not there."""
    if not shutil.which("java") and "JAVA_HOME" not in os.environ:
        sys.exit("compare-flink: Flink needs a JVM and there is no `java`: install Java 17 (Debian: openjdk-17-jre-headless) or set JAVA_HOME")
    folder = CACHE / FLINK
    done = folder / "installed"
    if not done.exists():
        print(f"installing apache-flink {FLINK} into {folder}: some minutes, about 1 GB", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "-q", f"apache-flink=={FLINK}"], check=True)
        done.touch()
    return folder / "bin" / "python"


def run_flink(queries, tables):
    """What Flink answers to each query: its rows or its error."""
    request = {"tables": tables, "queries": [{"name": q.name, "zone": q.zone, "sql": q.sql["flink"]} for q in queries]}
    python = python_with_flink()
    answers = {}
    with tempfile.TemporaryFile("w+") as asked, tempfile.TemporaryFile("w+") as said:
        json.dump(request, asked)
        asked.seek(0)
        process = subprocess.Popen([python, HERE / "run_flink.py"], stdin=asked, stdout=subprocess.PIPE, stderr=said, text=True)
        for line in process.stdout:
            if line.startswith("answer> "):
                answer = json.loads(line.removeprefix("answer> "))
                answers[answer["name"]] = answer
                print(f"flink     {len(answers)}/{len(queries)} {answer['name']}", flush=True)
        if process.wait() or len(answers) < len(queries):
            said.seek(0)
            sys.exit(f"compare-flink: Flink ended early\n{said.read()}")
    return answers


def run_highwater(query, tables, binary, folder):
    """What Highwater answers: its rows, late rows and dead letters, or its error."""
    file = folder / f"{query.name}.sql"
    file.write_text(f"{tables}\n{query.sql['highwater']};\n", encoding="utf-8")
    done = subprocess.run(
        [binary, "run", "--bounded", "--quiet", "--set", f"DATA={folder}", file], capture_output=True, text=True, cwd=folder)
    if done.returncode:
        return {"error": (done.stderr.strip() or done.stdout.strip()).removeprefix("error: ").splitlines()[0].replace(f"{file}", "query.sql")}
    rows = collections.defaultdict(list)
    for line in done.stdout.splitlines():
        table, _, row = line.partition("> ")
        rows[table].append(list(json.loads(row, parse_float=str).values()))
    return {"rows": rows["print"], "late": len(rows["print_late"]), "dead": len(rows["print_dead_letters"])}


def canonical(value, zone):
    """A value in a form that is the same for both: numbers to twelve digits, times in the zone."""
    if value is None or isinstance(value, bool):
        return str(value)
    value = str(value)
    if TIME.match(value):
        time = datetime.datetime.fromisoformat(value)
        if zone and not time.tzinfo:
            time = time.replace(tzinfo=datetime.timezone.utc)
        return (time.astimezone(zone) if zone else time).replace(tzinfo=None).isoformat()
    try:
        return f"{decimal.Context(prec=12).create_decimal(value).normalize():f}"
    except decimal.InvalidOperation:
        return value


def differences(query, theirs, ours):
    """Rows that only Flink has, and rows that only Highwater has."""
    zone = None if query.zone == "UTC" else zoneinfo.ZoneInfo(query.zone)
    theirs = collections.Counter(tuple(canonical(v, None) for v in row) for row in theirs)
    ours = collections.Counter(tuple(canonical(v, zone) for v in row) for row in ours)
    return sorted((theirs - ours).elements()), sorted((ours - theirs).elements())


def judge(query, theirs, ours):
    """Whether it is as expected (Highwater never refuses), the line of the table, and what to print."""
    detail = []
    if "error" in theirs or "error" in ours:
        same = False
        detail = [f"{who}: {answer['error']}" for who, answer in (("flink", theirs), ("highwater", ours)) if "error" in answer]
        result = " and ".join(who for who, answer in (("Flink", theirs), ("Highwater", ours)) if "error" in answer) + " refused"
    else:
        only_theirs, only_ours = differences(query, theirs["rows"], ours["rows"])
        same = not only_theirs and not only_ours
        result = "the same" if same else f"{len(only_theirs)} only in Flink, {len(only_ours)} only here"
        detail = [f"- {' | '.join(map(str, row))}" for row in only_theirs[:8]] + [f"+ {' | '.join(map(str, row))}" for row in only_ours[:8]]
    expected = same == (query.differs is None) and "error" not in ours
    rows = len((ours if "rows" in ours else theirs).get("rows", []))
    kept = f"; {ours['late']} late rows kept" if ours.get("late") else ""
    why = f"**{result}**: {query.differs}" if not same and query.differs else f"**{result}**" if not same else result + kept
    return expected, f"| {query.title} | {rows} | {why} |", [f"{query.name}: {result}{kept}"] + [f"    {line}" for line in detail]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--highwater", type=pathlib.Path, required=True, help="the binary")
    parser.add_argument("--only", nargs="*", default=[], help="names of queries; the page is left alone then")
    parser.add_argument("--flink-answers", type=pathlib.Path, help="keep Flink's answers in this file, by their SQL, and take from it what is there")
    options = parser.parse_args()
    queries = [query for query in read_queries() if not options.only or query.name in options.only]
    # In Highwater's place of execution the files are in a folder that goes away afterwards.
    with tempfile.TemporaryDirectory(prefix="compare-flink-") as folder:
        folder = pathlib.Path(folder)
        data.write(folder)
        tables = (HERE / "tables.sql").read_text(encoding="utf-8")
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            ours = dict(zip([q.name for q in queries], pool.map(lambda q: run_highwater(q, tables, options.highwater.resolve(), folder), queries)))
        known = json.loads(options.flink_answers.read_text(encoding="utf-8")) if options.flink_answers and options.flink_answers.exists() else {}
        theirs = {q.name: known[q.sql["flink"]] for q in queries if q.sql["flink"] in known}
        asked = [query for query in queries if query.name not in theirs]
        if asked:
            plain = re.sub("--.*", "", tables).replace("${DATA}", str(folder))
            theirs |= run_flink(asked, [statement.strip() for statement in plain.split(";") if statement.strip()])
        if options.flink_answers:
            known |= {query.sql["flink"]: theirs[query.name] for query in queries}
            options.flink_answers.write_text(json.dumps(known), encoding="utf-8")
    judged = [judge(query, theirs[query.name], ours[query.name]) for query in queries]
    lines = [f"| {len(queries)} queries, Flink {FLINK} | rows here | |", "|---|---|---|"] + [line for _, line, _ in judged]
    for expected, _, detail in judged:
        print(("ok      " if expected else "LOOK AT ") + "\n".join(detail))
    if not options.only:
        text = PAGE.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        PAGE.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.split(END)[1], encoding="utf-8")
    wrong = sum(not expected for expected, _, _ in judged)
    print(f"\n{len(queries)} queries, {wrong} not as queries.sql says")
    sys.exit(1 if wrong else 0)


main()
