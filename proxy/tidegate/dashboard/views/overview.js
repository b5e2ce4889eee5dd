// What flows now, what fails, how long it takes.

import { h, replace, table } from "../dom.js";
import { chart } from "../chart.js";
import { earlier, grown, history, span, sum, traffic } from "../data.js";
import { bytes, percent, short, time } from "../format.js";
import { problems } from "./problems.js";

/** Seconds that a point of the charts looks back. */
const BACK = 3;

export function overview() {
  const rates = chart("Requests a second", [["All", "--accent", true], ["4xx", "--warn"], ["5xx", "--bad"]], short);
  const times = chart("Time of a request", [["Half are faster (p50)", "--good"], ["99 of 100 are (p99)", "--accent"]], time);
  const tiles = h("dl", { class: "sheet tiles" });
  const trouble = h("div", { class: "stack" });
  const busiest = h("section", { class: "sheet" });
  const failures = h("section", { class: "sheet" });
  const element = h("div", { class: "stack" }, h("h1", null, "Overview"), trouble, tiles,
    h("div", { class: "halves" }, rates.element, times.element), h("div", { class: "halves" }, busiest, failures));

  function update() {
    const now = history[history.length - 1];
    if (!now) return;
    const seen = span(5);
    const flow = seen && traffic(seen);
    const tile = (name, value, unit, kind) =>
      h("div", { class: `tile ${kind ?? ""}` }, h("dt", null, name), h("dd", null, value, unit && h("small", null, unit)));
    replace(tiles,
      tile("Requests", flow ? short(flow.rate) : "–", "/s"),
      tile("Errors", flow ? percent(flow.share) : "–", "5xx", flow?.share > 0.01 ? "bad" : ""),
      tile("p50", flow ? time(flow.p50) : "–"),
      tile("p99", flow ? time(flow.p99) : "–"),
      tile("In flight", short(now.requests.active), `on ${short(now.connections.open)} connections`),
      tile("Memory", bytes(now.memoryBytes), `up ${time(now.time - now.started)}`));
    replace(trouble, problems(now));
    points(rates, times);
    replace(busiest, h("h2", null, "Busiest routes"), routes(seen));
    replace(failures, h("h2", null, "Failures by reason"), reasons(now, seen));
  }
  return { element, update, recolour() { rates.recolour(); times.recolour(); }, end() { rates.end(); times.end(); } };
}

function points(rates, times) {
  const at = [], all = [], client = [], server = [], half = [], most = [];
  let from = 0;
  for (let index = 1; index < history.length; index++) {
    while (from < index - 1 && history[index].time - history[from + 1].time >= BACK - 0.25) from++;
    const [now, before] = [history[index], history[from]];
    const flow = traffic({ now, before, seconds: now.time - before.time });
    at.push(now.time); all.push(flow.rate); client.push(flow.classes[3]); server.push(flow.classes[4]);
    half.push(flow.p50); most.push(flow.p99);
  }
  rates.update(at, all, client, server);
  times.update(at, half, most);
}

function routes(seen) {
  if (!seen) return h("p", { class: "empty" }, "Collecting the first seconds.");
  const { now, before, seconds } = seen;
  const rows = now.routes.map((route) => {
    const old = earlier(before.routes, route, "name");
    const counts = route.classes.map((count, index) => grown(count, old?.classes[index]));
    return { name: route.name, rate: sum(counts) / seconds, share: sum(counts) ? counts[4] / sum(counts) : 0 };
  }).filter((row) => row.rate > 0).sort((a, b) => b.rate - a.rate).slice(0, 8);
  const most = Math.max(...rows.map((row) => row.rate), 0);
  return table(rows, [
    ["Route", (row) => {
      const share = h("span", { class: "share" });
      share.style.width = `${(row.rate / most) * 100}%`;
      return [row.name, share];
    }],
    ["Requests/s", (row) => short(row.rate), "num"],
    ["5xx", (row) => h("td", { class: row.share > 0.01 ? "num bad" : "num" }, percent(row.share)), "num"],
  ], "No requests in the last seconds.");
}

function reasons(now, seen) {
  const rows = Object.entries(now.requests.failures).filter(([, count]) => count > 0).map(([reason, count]) => ({
    reason, count, rate: seen ? grown(count, seen.before.requests.failures[reason]) / seen.seconds : 0,
  })).sort((a, b) => b.rate - a.rate || b.count - a.count).slice(0, 8);
  return table(rows, [
    ["Reason", (row) => h("code", null, row.reason)],
    ["Now /s", (row) => short(row.rate), "num"],
    ["Since the start", (row) => short(row.count), "num"],
  ], "Nothing has failed at the gateway itself since the start. What servers answer with 5xx is told by route.");
}
