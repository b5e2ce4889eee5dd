#!/usr/bin/env python3
"""What seeing costs: scenario A with nothing seen against metrics scraped, a JSON access log and traces at 1 %.

    bench/seeing.py [--rounds 20] [--out seeing.json]                   CPU time of a request, both in turn
    bench/seeing.py --instructions [--binary target/release/tidegate]  instructions of a request, by callgrind
    bench/seeing.py --scrape [--binary target/release/tidegate]        a page of 1,000 routes that all lead to 10 upstreams

Both stand side by side and are asked in turns (turns.py), so that what else the machine does meets both. Exit 1 where a
bar is missed: 8 % more CPU or instructions, 50 ms and 5 MiB for a page. Counters are always counted; what scraping adds is
in `all`.
"""

import argparse
import http.client
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import instructions

BAR_PERCENT, BAR_SECONDS, BAR_BYTES = 8.0, 0.050, 5 << 20
ROUTES, UPSTREAMS = 1000, 10
SCRAPES = 9


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes spans."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def collector():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def seen(document, collector_url, log):
    """The same configuration with everything seen."""
    return document | {
        "accessLog": {"format": "json", "path": log},
        "tracing": {"otlp": {"endpoint": collector_url}, "percent": 1},
    }


def parts(document, collector_url, log):
    """By what is seen."""
    whole = seen(document, collector_url, log)
    return {
        "off": document,
        "access log": document | {"accessLog": whole["accessLog"]},
        "tracing": document | {"tracing": whole["tracing"]},
        "all": whole,
    }


def by_instructions(arguments):
    server, url = instructions.upstream(), collector()
    results = {}
    with tempfile.TemporaryDirectory(prefix="seeing") as work:
        log = os.path.join(work, "access.log")
        for name in ("off", "access log", "tracing", "all"):
            document = instructions.configuration(instructions.free_port(), server, [], 1)
            document = parts(document, url, log)[name]
            few, many = (instructions.count(arguments.binary, document, "/", n, {})
                         for n in (instructions.FEW, instructions.MANY))
            results[name] = round((many - few) / (instructions.MANY - instructions.FEW))
            more = 100 * (results[name] / results["off"] - 1)
            print(f"{name:12} {results[name]:8,} instructions a request {more:+6.1f} %", flush=True)
    results["percent"] = 100 * (results["all"] / results["off"] - 1)
    return results, results["percent"] <= BAR_PERCENT


def ask(port, path):
    """Seconds and bytes of an answer of the admin API."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status}")
    return time.perf_counter() - began, len(body)


def by_cpu(arguments):
    import run as bench
    import turns

    url, case = collector(), bench.scenarios()["A"][0]

    def seen_all(ctx):
        # Not beside the configuration, whose folder is watched.
        logs, path = os.path.join(ctx.work, "logs"), os.path.join(ctx.work, "tidegate.yaml")
        os.makedirs(logs)
        with open(path) as f:
            document = parts(json.load(f), url, os.path.join(logs, "access.log"))["all"]
        with open(path, "w") as f:
            json.dump(document, f)

    def scrape(ctx, turn):
        # Each turn is a second; Prometheus asks every five.
        if turn % 5 == 0:
            threading.Thread(target=ask, args=(ctx.admin_port, "/metrics"), daemon=True).start()

    side_by_side = turns.Turns()
    try:
        side_by_side.add("off", case, arguments.binary)
        side_by_side.add("all", case, arguments.binary, seen_all, scrape)
        runs = side_by_side.run(arguments.rounds)
    finally:
        side_by_side.close()
    figures = turns.compared(runs)
    turns.table(figures)
    percent = 100 * figures["all"]["more"] / figures["off"]["median"]
    of_least = 100 * figures["all"]["more_of_least"] / figures["off"]["least"]
    print(f"all seen: {percent:+.1f} % of CPU in the middle of the rounds, {of_least:+.1f} % by the least")
    return {"runs": runs, "percent": percent, "percent_of_least": of_least}, min(percent, of_least) <= BAR_PERCENT


def by_scrape(arguments):
    """Asks for the page when each route has had a request for each upstream."""
    server = instructions.upstream()
    port, admin = instructions.free_port(), instructions.free_port()
    upstreams = {f"upstream{j}": {"servers": [f"127.0.0.1:{server}"]} for j in range(UPSTREAMS)}
    routes = [{"name": f"route{i:04d}", "rules": [
        {"name": f"u{j}", "matches": [{"path": {"prefix": f"/{i}/{j}"}}], "forward": [{"upstream": f"upstream{j}"}]}
        for j in range(UPSTREAMS)]} for i in range(ROUTES)]
    document = {"admin": {"address": f"127.0.0.1:{admin}"}, "workers": 1, "routes": routes, "upstreams": upstreams,
                "listeners": [{"name": "plain", "address": f"127.0.0.1:{port}", "protocol": "http"}]}
    work = tempfile.mkdtemp(prefix="seeing")
    process = None
    try:
        config = os.path.join(work, "tidegate.yaml")
        with open(config, "w") as f:
            json.dump(document, f)
        process = subprocess.Popen([arguments.binary, "run", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with instructions.connect(port) as connection:
            for i in range(ROUTES):
                for j in range(UPSTREAMS):
                    instructions.ask(connection, f"/{i}/{j}", 1, {})
        taken = sorted(ask(admin, "/metrics") for _ in range(SCRAPES))
    finally:
        if process:
            process.terminate()
            process.wait(timeout=60)
        shutil.rmtree(work, ignore_errors=True)
    seconds, size = taken[0]
    print(f"a page: {size / (1 << 20):.2f} MiB, {seconds * 1000:.1f} ms at least, {taken[len(taken) // 2][0] * 1000:.1f} ms in the middle")
    return {"bytes": size, "seconds": [t for t, _ in taken]}, seconds <= BAR_SECONDS and size <= BAR_BYTES


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.environ.get("TIDEGATE_BIN", "target/release/tidegate"))
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--scrape", action="store_true")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", help="write the result as JSON here")
    parser.add_argument("--no-bar", action="store_true", help="end with 0 where a bar is missed")
    arguments = parser.parse_args()
    measure = by_instructions if arguments.instructions else by_scrape if arguments.scrape else by_cpu
    result, kept = measure(arguments)
    if arguments.out:
        with open(arguments.out, "w") as f:
            json.dump(result, f, indent=1)
    return 0 if kept or arguments.no_bar else 1


if __name__ == "__main__":
    sys.exit(main())
