"""The input of the comparison: the same files for both engines, the same in every run."""

import datetime
import json
import pathlib
import random

START = datetime.datetime(2026, 3, 1, 10)
WORDS = ["tea", "coffee", "milk", "bread", "salt", "oil", "rice", "figs"]


def text(time):
    """A time as Flink's JSON format reads it."""
    return time.strftime("%Y-%m-%d %H:%M:%S.") + f"{time.microsecond // 1000:03d}"


class Source(random.Random):
    """Random values. Times are in steps of 10 ms, so that no watermark is ever one millisecond before the end of a
    window: there the engines differ, and a query of its own shows it."""

    def below(self, n):
        return int(self.random() * n)

    def some(self, value, nulls=0.1):
        return None if self.random() < nulls else value

    def price(self):
        return f"{self.below(100_000) / 100:.2f}"

    def step(self, milliseconds):
        return datetime.timedelta(milliseconds=10 * self.below(milliseconds // 10))


def stream(seed, rows, late):
    """Rows that are only added, with pauses (for sessions) and disorder."""
    r, now = Source(seed), START
    for _ in range(rows):
        now += r.step(700) + (r.step(40_000) if r.random() < 0.01 else datetime.timedelta())
        back = r.step(120_000) if late and r.random() < 0.03 else r.step(4_000)
        n = r.below(201) - 100
        yield {
            "ts": text(max(now - back, START)), "k": r.some("abcde"[r.below(5)], 0.05), "n": r.some(n),
            # Eighths: their sums are exact in any order.
            "d": r.some((r.below(2001) - 1000) / 8), "p": r.some(r.price()), "s": r.some(WORDS[r.below(8)]),
            "flag": r.some(r.random() < 0.5),
        }


def changes(seed, count, oldest):
    """Changes of a table, as Debezium has them. Rows older than `oldest` seconds are left alone."""
    r, now, rows, last = Source(seed), START, {}, 0
    for _ in range(count):
        now += r.step(1_000)
        young = [key for key, row in rows.items() if (now - row["placed"]).total_seconds() < oldest]
        what, before, after = r.random(), None, None
        if what < 0.5 or not young:
            last += 1
            after = {
                "id": last, "shop": "north south west".split()[r.below(3)], "price": r.price(), "n": r.some(r.below(100)),
                "status": "new", "placed": max(now - r.step(4_000), START),
            }
        else:
            before = rows[young[r.below(len(young))]]
            if what < 0.85:
                after = dict(before, status=["paid", "sent", None][r.below(3)])
                if r.random() < 0.4:
                    after["price"] = r.price()
                if r.random() < 0.3:
                    after["shop"] = "north south west".split()[r.below(3)]
                if r.random() < 0.3:
                    after["placed"] = max(before["placed"] + r.step(40_000) - r.step(40_000), START)
        if before:
            del rows[before["id"]]
        if after:
            rows[after["id"]] = after
        yield {"before": before, "after": after, "op": "u" if before and after else "c" if after else "d"}


def envelope(change):
    """A change with its times as text."""
    image = lambda row: row and dict(row, placed=text(row["placed"]))
    return {"before": image(change["before"]), "after": image(change["after"]), "op": change["op"]}


def write(folder):
    """Writes the file of every table."""
    order = lambda id, second, price: {
        "id": id, "shop": "north", "price": price, "n": 1, "status": "new", "placed": START + datetime.timedelta(seconds=second),
    }
    at = lambda ms: text(START + datetime.timedelta(milliseconds=ms))
    hours = [datetime.datetime(2026, 3, 28) + datetime.timedelta(hours=h) for h in range(72)]
    hours += [datetime.datetime(2026, 10, 24) + datetime.timedelta(hours=h) for h in range(72)]
    files = {
        "clicks": stream(1, 3000, late=True),
        "sales": stream(2, 1000, late=False),
        "refunds": stream(3, 600, late=False),
        "orders": map(envelope, changes(4, 2000, oldest=50)),
        "old_orders": map(envelope, changes(5, 2000, oldest=90)),
        "half_orders": map(envelope, [
            {"before": None, "after": order(1, 1, "1.00"), "op": "c"},
            {"before": order(2, 2, "2.00"), "after": None, "op": "d"},
            {"before": order(3, 63, "4.00"), "after": None, "op": "d"},
            {"before": order(4, 124, "8.00"), "after": order(4, 125, "16.00"), "op": "u"},
        ]),
        "hourly": ({"ts": hour.strftime("%Y-%m-%d %H:%M:%SZ"), "n": 1} for hour in hours),
        "timeless": [{"ts": at(0), "n": 1}, {"ts": None, "n": 2}, {"ts": at(1000), "n": 4}],
        "edges": [
            {"ts": at(0), "k": "a", "n": 1}, {"ts": at(5_000), "k": "b", "n": 2}, {"ts": at(5_000), "k": "a", "n": 4},
            {"ts": at(9_999), "k": "c", "n": 8}, {"ts": at(9_998), "k": "c", "n": 16}, {"ts": at(20_000), "k": "c", "n": 32},
        ],
    }
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
