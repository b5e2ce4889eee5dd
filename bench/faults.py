#!/usr/bin/env python3
"""The same faults of servers behind several proxies, one after the other.

    bench/faults.py --peers tidegate,envoy,haproxy --out faults.json

Nine servers behind one proxy, requests at a fixed rate on connections that are kept. Each proxy is set up for the fault
as its manual says: one retry after a lost connection, servers that fail are left out, connections that cannot be opened
are given up after 250 ms. README.md says how a proxy's binary is found.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import run

SERVERS = 9
RATE = 600
CONNECTIONS = 24
WORK = 0.002
PATIENCE = 5.0

TIDEGATE = """
listeners: [{{ name: web, address: 127.0.0.1:{port} }}]
routes:
  - name: all
    rules:
      - forward: [{{ upstream: u }}]
        retries: {{ attempts: 1, on: [connect, reset] }}
        timeouts: {{ attempt: 2s }}
upstreams:
  u:
    servers: [{servers}]
    balance: {balance}
    ejection: {{ failures: 5, time: 5s, percent: 50, interval: 1s, successRate: true, latency: {{ factor: 3 }} }}
    timeouts: {{ connect: 250ms }}
"""

HAPROXY = """
global
    nbthread 1
defaults
    mode http
    timeout connect 250ms
    timeout client 30s
    timeout server 2s
    retries 1
    option redispatch 1
    retry-on conn-failure empty-response
frontend web
    bind 127.0.0.1:{port}
    default_backend u
backend u
    balance {balance}
    default-server check inter 1s fall 2 rise 1 observe layer4 error-limit 5 on-error mark-down
{servers}
"""


def tidegate(folder, port, servers):
    binary = run.Peer("tidegate").path
    listed = ", ".join(f"127.0.0.1:{server}" for server in servers)
    path = os.path.join(folder, "tidegate.yaml")
    with open(path, "w") as file:
        file.write("workers: 1" + TIDEGATE.format(port=port, servers=listed, balance="peakEwma"))
    return [binary, "run", path, "--log", "error"]


def haproxy(folder, port, servers):
    listed = "\n".join(f"    server s{i} 127.0.0.1:{server}" for i, server in enumerate(servers))
    path = os.path.join(folder, "haproxy.cfg")
    with open(path, "w") as file:
        file.write(HAPROXY.format(port=port, servers=listed, balance="leastconn"))
    return [run.Peer("haproxy").path, "-q", "-f", path]


def envoy(folder, port, servers):
    api = "type.googleapis.com/envoy.extensions."
    manager = {
        "@type": api + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "http_filters": [{"name": "router", "typed_config": {"@type": api + "filters.http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{
            "match": {"prefix": "/"},
            "route": {"cluster": "u", "retry_policy": {
                "retry_on": "connect-failure,reset,refused-stream", "num_retries": 1, "per_try_timeout": "2s",
                "retry_host_predicate": [{
                    "name": "other",
                    "typed_config": {"@type": api + "retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }],
                "host_selection_retry_max_attempts": 3,
            }},
        }]}]},
    }
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": server}}}}
        for server in servers
    ]
    document = {"static_resources": {
        "listeners": [{
            "name": "web",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }],
        "clusters": [{
            "name": "u", "type": "STATIC", "connect_timeout": "0.25s", "lb_policy": "LEAST_REQUEST",
            "load_assignment": {"cluster_name": "u", "endpoints": [{"lb_endpoints": endpoints}]},
            "outlier_detection": {
                "interval": "1s", "base_ejection_time": "5s", "max_ejection_percent": 50, "consecutive_5xx": 5,
                "consecutive_gateway_failure": 5, "enforcing_consecutive_gateway_failure": 100,
                "success_rate_minimum_hosts": 5, "success_rate_request_volume": 50,
            },
        }],
    }}
    path = os.path.join(folder, "envoy.json")
    with open(path, "w") as file:
        json.dump(document, file)
    binary = run.Peer("envoy").path
    return [binary, "-c", path, "--concurrency", "1", "--log-level", "off", "--base-id", str(os.getpid() % 30000)]


PEERS = {"tidegate": tidegate, "envoy": envoy, "haproxy": haproxy}


class Servers:
    """Nine servers in this process; each can be away, or slow."""

    def __init__(self, ports):
        self.ports = ports
        self.delay = {port: WORK for port in ports}
        self.listening = {}
        self.open = {port: set() for port in ports}

    async def start(self, port):
        self.listening[port] = await asyncio.start_server(
            lambda reader, writer: self.serve(port, reader, writer), "127.0.0.1", port, backlog=512)

    async def stop(self, port):
        """As a killed process: connections are reset."""
        listening = self.listening.pop(port, None)
        if listening:
            listening.close()
        for writer in list(self.open[port]):
            writer.transport.abort()

    async def serve(self, port, reader, writer):
        self.open[port].add(writer)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(self.delay[port])
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            # The end of a run ends its connections too.
            pass
        finally:
            self.open[port].discard(writer)
            writer.close()


class Load:
    """Requests at a fixed rate: when each was due, how long it took from then, whether it was answered 200."""

    def __init__(self, port):
        self.port = port
        self.seen = []

    async def go(self, begin, seconds):
        await asyncio.gather(*(self.one(begin, seconds, number) for number in range(CONNECTIONS)))

    async def one(self, begin, seconds, number):
        connection = None
        step = CONNECTIONS / RATE
        due = begin + step * number / CONNECTIONS
        while due < begin + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            good = False
            try:
                if connection is None:
                    connection = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), PATIENCE)
                good = await asyncio.wait_for(self.ask(*connection), PATIENCE)
            except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                good = False
                if connection:
                    connection[1].close()
                connection = None
            now = time.monotonic()
            self.seen.append((due - begin, now - due, good))
            # Who waited for an answer does not make up for it: the rate falls as clients' would.
            due = max(due + step, now)

    async def ask(self, reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: faults\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if b"transfer-encoding: chunked" in head.lower():
            await reader.readuntil(b"0\r\n\r\n")
        elif length:
            await reader.readexactly(length)
        return head.split(b" ")[1] == b"200"


async def third_dies(servers, begin):
    await asyncio.sleep(begin + 4 - time.monotonic())
    for port in servers.ports[::3]:
        await servers.stop(port)


async def one_slow(servers, begin):
    await asyncio.sleep(begin + 4 - time.monotonic())
    servers.delay[servers.ports[4]] = 0.5


async def rolling(servers, begin):
    for number, port in enumerate(servers.ports):
        await asyncio.sleep(max(0.0, begin + 3 + number * 0.8 - time.monotonic()))
        await servers.stop(port)
        await asyncio.sleep(0.3)
        await servers.start(port)


async def all_away(servers, begin):
    await asyncio.sleep(begin + 3 - time.monotonic())
    for port in servers.ports:
        await servers.stop(port)
    await asyncio.sleep(begin + 5 - time.monotonic())
    for port in servers.ports:
        await servers.start(port)


# Name, what happens, seconds, when it begins, when it should long be over.
FAULTS = [
    ("a third of 9 servers dies", third_dies, 12, 4, 9),
    ("one server turns slow (500 ms)", one_slow, 12, 4, 9),
    ("all servers restart, one by one", rolling, 12, 3, 11),
    ("all servers away for 2 s", all_away, 14, 5, 11),
]


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else None


def judge(seen, begins, over):
    """Shares and times of one run; failures before the fault begins would be the harness's own."""
    after = [(at, took, good) for at, took, good in seen if at >= begins]
    failed = [at for at, _, good in after if not good]
    slow = [at for at, took, good in after if not good or took > 0.25]
    return {
        "requests": len(after),
        "failed": len(failed),
        "failedBefore": sum(1 for at, _, good in seen if at < begins and not good),
        "lastFailureAfter": round(max(failed) - begins, 2) if failed else 0.0,
        "lastBadAfter": round(max(slow) - begins, 2) if slow else 0.0,
        "p99Before": percentile([took for at, took, _ in seen if at < begins], 0.99),
        "p99": percentile([took for _, took, _ in after], 0.99),
        "p99End": percentile([took for at, took, _ in seen if at >= over], 0.99),
    }


async def one(peer, fault, seconds, begins, over):
    ports = run.free_ports(SERVERS + 1)
    servers = Servers(ports[1:])
    for port in servers.ports:
        await servers.start(port)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "log"), "w") as log:
            process = subprocess.Popen(PEERS[peer](folder, ports[0], servers.ports), stdout=log, stderr=log)
        try:
            load = Load(ports[0])
            for _ in range(100):
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", ports[0])
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.1)
            # A first second that nobody counts: connections are opened, caches fill.
            await load.go(time.monotonic(), 1)
            load.seen.clear()
            begin = time.monotonic() + 0.1
            await asyncio.gather(load.go(begin, seconds), fault(servers, begin))
        finally:
            process.terminate()
            process.wait()
            for port in servers.ports:
                await servers.stop(port)
    return judge(load.seen, begins, over)


def milliseconds(value):
    return "–" if value is None else f"{value * 1000:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="tidegate,envoy,haproxy")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", default="", help="faults whose name holds this")
    parser.add_argument("--out", help="write every run as JSON here")
    args = parser.parse_args()
    results = []
    for name, fault, seconds, begins, over in FAULTS:
        if args.only not in name:
            continue
        print(f"\n{name}\n  {'peer':9} {'requests':>8} {'failed':>7} {'last failure s':>14} {'last bad s':>10}"
              f" {'p99 before ms':>13} {'p99 ms':>8} {'p99 at the end':>14}")
        for peer in args.peers.split(","):
            runs = [asyncio.run(one(peer, fault, seconds, begins, over)) for _ in range(args.repeats)]
            results.append({"fault": name, "peer": peer, "runs": runs})
            med = {key: statistics.median(v for v in (r[key] for r in runs) if v is not None) for key in runs[0]}
            print(f"  {peer:9} {med['requests']:8.0f} {med['failed']:7.0f} {med['lastFailureAfter']:14.2f}"
                  f" {med['lastBadAfter']:10.2f} {milliseconds(med['p99Before']):>13} {milliseconds(med['p99']):>8}"
                  f" {milliseconds(med['p99End']):>14}", flush=True)
    if args.out:
        with open(args.out, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
