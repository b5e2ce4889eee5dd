#!/usr/bin/env python3
"""What it costs to stay up when servers fail: scenario A with three servers, nothing of it against leastRequest, passive
ejection and retries, and against what is on unless something is written.

    bench/staying.py [--rounds 20] [--out staying.json]                   CPU time of a request, all in turn
    bench/staying.py --instructions [--binary target/release/tidegate]   instructions of a request, by callgrind

All stand side by side and are asked in turns (turns.py), so that what else the machine does meets all. Exit 1 where the
bar is missed: 10 % more.
"""

import argparse
import json
import os
import sys

import instructions

BAR_PERCENT = 10.0
# Requests go to servers as unevenly as with `on`: a connection that waits for its turn for long is parked, which costs.
OFF = {"upstream": {"balance": "random", "ejection": False}, "rule": {"retries": {"attempts": 0}}}
ON = {
    "upstream": {
        "balance": "leastRequest",
        "ejection": {"interval": "10s", "successRate": True, "latency": True},
        "retryBudget": {"percent": 20, "min": 3},
    },
    "rule": {"retries": {"attempts": 2, "on": ["connect", "reset", "timeout", "5xx"]}, "timeouts": {"attempt": "5s"}},
}
NAMES = {"off": OFF, "default": {"upstream": {}, "rule": {}}, "on": ON}


def staying(document, servers, what):
    """The same configuration with these servers and what keeps it up."""
    document = json.loads(json.dumps(document))
    document["upstreams"]["u"].update(servers=servers, **what["upstream"])
    for rule in document["routes"][0]["rules"]:
        rule.update(what["rule"])
    return document


def by_instructions(arguments):
    servers = [f"127.0.0.1:{instructions.upstream()}" for _ in range(3)]
    results = {}
    for name, what in NAMES.items():
        document = staying(instructions.configuration(instructions.free_port(), 1, [], 1), servers, what)
        few, many = (instructions.count(arguments.binary, document, "/", n, {})
                     for n in (instructions.FEW, instructions.MANY))
        results[name] = round((many - few) / (instructions.MANY - instructions.FEW))
        more = 100 * (results[name] / results["off"] - 1)
        print(f"{name:8} {results[name]:8,} instructions a request {more:+6.1f} %", flush=True)
    results["percent"] = 100 * (results["on"] / results["off"] - 1)
    return results, results["percent"] <= BAR_PERCENT


def by_cpu(arguments):
    import run as bench
    import turns

    def with_servers(what):
        def change(ctx):
            path = os.path.join(ctx.work, "tidegate.yaml")
            servers = [f"127.0.0.{n}:{ctx.upstream_port}" for n in (1, 2, 3)]
            with open(path) as f:
                document = staying(json.load(f), servers, what)
            with open(path, "w") as f:
                json.dump(document, f)
        return change

    side_by_side = turns.Turns()
    try:
        for name, what in NAMES.items():
            side_by_side.add(name, bench.scenarios()["A"][0], arguments.binary, with_servers(what))
        runs = side_by_side.run(arguments.rounds)
    finally:
        side_by_side.close()
    figures = turns.compared(runs)
    turns.table(figures)
    percent = {
        "middle": 100 * figures["on"]["more"] / figures["off"]["median"],
        "least": 100 * figures["on"]["more_of_least"] / figures["off"]["least"],
    }
    for how, more in percent.items():
        print(f"on: {more:+.1f} % of CPU by the {how}")
    return {"runs": runs, "percent": percent}, min(percent.values()) <= BAR_PERCENT


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.environ.get("TIDEGATE_BIN", "target/release/tidegate"))
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", help="write the result as JSON here")
    parser.add_argument("--no-bar", action="store_true", help="end with 0 where a bar is missed")
    arguments = parser.parse_args()
    result, kept = by_instructions(arguments) if arguments.instructions else by_cpu(arguments)
    if arguments.out:
        with open(arguments.out, "w") as f:
            json.dump(result, f, indent=1)
    return 0 if kept or arguments.no_bar else 1


if __name__ == "__main__":
    sys.exit(main())
