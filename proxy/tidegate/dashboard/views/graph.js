// Who calls whom: listeners, routes, upstreams, servers; edges as wide as their rate, in the colour of their errors.

import { h, s, replace } from "../dom.js";
import { earlier, grown, history, json, span, sum } from "../data.js";
import { percent, short } from "../format.js";

const ROW = 54;
const BOX = 38;
/** Between boxes that stand close. */
const CLOSE = 20;
/** Shares of errors from which an edge is shown as such. */
const WARN = 0.01;
const BAD = 0.05;

export function graph() {
  const place = h("div", { class: "sheet" });
  const note = h("p", { class: "soft small" });
  const element = h("div", { class: "stack" }, h("h1", null, "Service graph"), note, place);
  let others = [];
  let asked = 0;

  function update() {
    const seen = span(5);
    if (!seen) return;
    draw(place, seen, others);
    const names = others.map((other) => other.name);
    note.textContent = names.length
      ? `Edges are as wide as their rate over 5 s. Merged with ${names.join(", ")}.`
      : "Edges are as wide as their rate over 5 s, and red where 5 % or more fail.";
    if (seen.now.time - asked > 2) {
      asked = seen.now.time;
      json("/peers").then((answer) => { others = answer.peers; }, () => { others = []; });
    }
  }
  return { element, update };
}

/** Nodes by column, and edges, of one gateway. */
function parts(own, { now, before, seconds }) {
  const id = (kind, name) => `${own}/${kind}/${name}`;
  const nodes = [], edges = [];
  for (const listener of now.listeners) nodes.push({ id: id("l", listener.name), column: 0, name: listener.name, detail: listener.addresses[0] ?? "", addresses: listener.addresses });
  const pair = (one) => JSON.stringify([one.listener, one.route]);
  // Gateways of earlier versions do not tell.
  const [came, earlierCame] = [now, before].map((stats) => new Map((stats.arrivals ?? []).map((one) => [pair(one), one])));
  for (const route of now.routes) {
    nodes.push({ id: id("r", route.name), column: 1, name: route.name, detail: "" });
    for (const listener of route.listeners) {
      const key = pair({ listener, route: route.name });
      const [one, old] = [came.get(key), earlierCame.get(key)];
      const by = (what) => (one ? grown(one[what], old?.[what]) / seconds : 0);
      edges.push({ from: id("l", listener), to: id("r", route.name), rate: by("requests"), errors: by("errors") });
    }
  }
  for (const edge of now.edges) {
    const old = earlier(before.edges, edge, "route", "upstream");
    edges.push({ from: id("r", edge.route), to: id("u", edge.upstream), rate: grown(edge.requests, old?.requests) / seconds, errors: grown(edge.errors, old?.errors) / seconds });
  }
  // Where a route leads is there before anything was sent.
  const counted = new Set(now.edges.map((edge) => `${edge.route} ${edge.upstream}`));
  for (const route of now.routes) {
    for (const upstream of route.upstreams.filter((name) => !counted.has(`${route.name} ${name}`))) {
      edges.push({ from: id("r", route.name), to: id("u", upstream), rate: 0, errors: 0 });
    }
  }
  for (const upstream of now.upstreams) {
    nodes.push({ id: id("u", upstream.name), column: 2, name: upstream.name, detail: `${upstream.servers.length} server${upstream.servers.length === 1 ? "" : "s"}`, addresses: upstream.servers.map((server) => server.address) });
  }
  return { nodes, edges };
}

/** What each node passes on, so that idle ones can be small print. */
function flows(nodes, edges) {
  for (const node of nodes) {
    const into = edges.filter((edge) => edge.to === node.id);
    const out = edges.filter((edge) => edge.from === node.id);
    const most = sum(into.map((edge) => edge.rate)) >= sum(out.map((edge) => edge.rate)) ? into : out;
    node.rate = sum(most.map((edge) => edge.rate));
    node.errors = sum(most.map((edge) => edge.errors));
  }
}

const kind = (item) => (item.rate <= 0 ? "idle" : item.errors / item.rate >= BAD ? "bad" : item.errors / item.rate >= WARN ? "warn" : "");

/** The nodes and edges of all gateways; who calls another one stands before it. */
function merged(seen, others) {
  const all = [{ name: seen.now.name ?? "", ...parts("", seen) }, ...others.map((other) => ({ name: other.name, ...parts(other.name, other) }))];
  const edges = all.flatMap((gateway) => gateway.edges);
  const calls = [];
  // An upstream whose server is another gateway's listener calls that gateway.
  for (const caller of all) for (const node of caller.nodes.filter((node) => node.column === 2)) {
    for (const called of all.filter((other) => other !== caller)) for (const target of called.nodes.filter((target) => target.column === 0)) {
      if (!target.addresses.some((address) => node.addresses.includes(address))) continue;
      const into = edges.filter((edge) => edge.to === node.id);
      edges.push({ from: node.id, to: target.id, rate: sum(into.map((edge) => edge.rate)), errors: sum(into.map((edge) => edge.errors)) });
      calls.push([caller, called]);
    }
  }
  for (const gateway of all) gateway.depth = 0;
  // As many rounds as there are gateways: some may call each other in a circle.
  for (let round = 1; round < all.length; round++) for (const [caller, called] of calls) {
    if (called.depth <= caller.depth) called.depth = Math.min(caller.depth + 1, all.length - 1);
  }
  const nodes = all.flatMap((gateway) => gateway.nodes.map((node) => ({
    ...node, column: node.column + 3 * gateway.depth, ...(others.length ? { gateway: gateway.name, detail: gateway.name } : {}),
  })));
  return { nodes, edges };
}

function draw(place, seen, others) {
  let { nodes, edges } = merged(seen, others);
  flows(nodes, edges);
  nodes = busiest(nodes);
  const columns = [...new Set(nodes.map((node) => node.column))].sort((a, b) => a - b);
  const room = place.clientWidth - (window.innerWidth <= 720 ? 34 : 42);
  // On a narrow screen the boxes of one gateway stand close; several gateways are moved sideways.
  const tight = room < 500 && columns.length <= 3;
  const width = tight ? room : Math.max(room, columns.length * 190);
  const gap = tight ? (width - 8 + CLOSE) / columns.length : width / columns.length;
  const box = tight ? gap - CLOSE : Math.min(210, gap - (width < 600 ? 44 : 70));
  const tall = Math.max(...columns.map((column) => nodes.filter((node) => node.column === column).length));
  for (const [at, column] of columns.entries()) {
    const own = nodes.filter((node) => node.column === column);
    own.forEach((node, index) => {
      node.x = tight ? 4 + gap * at : gap * at + (at === columns.length - 1 ? gap - box - 4 : at === 0 ? 4 : (gap - box) / 2);
      node.y = 34 + ((tall - own.length) / 2 + index) * ROW;
    });
  }
  const known = new Map(nodes.map((node) => [node.id, node]));
  const most = Math.max(...edges.map((edge) => edge.rate), 1e-9);
  const drawn = edges.filter((edge) => known.has(edge.from) && known.has(edge.to))
    .map((edge) => ({ ...edge, start: known.get(edge.from), end: known.get(edge.to), width: edge.rate > 0 ? 1.5 + 10 * Math.sqrt(edge.rate / most) : 1.5 }));
  stack(drawn, "start", "end", "y1");
  stack(drawn, "end", "start", "y2");
  const lines = drawn.sort((a, b) => a.rate - b.rate).map((edge) => line(edge, box));
  const heads = columns.map((column, at) => {
    const first = nodes.find((node) => node.column === column);
    return s("text", { class: "head", x: first.x, y: 16 }, ["Listeners", "Routes", "Upstreams"][column % 3]);
  });
  const height = 34 + tall * ROW + 6;
  replace(place, h("div", { class: "scroll" }, s("svg", { class: "graph", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": told(nodes, edges) },
    heads, lines, nodes.map((node) => boxed(node, box)))));
}

/** The busiest of each column where there are too many to read. */
function busiest(nodes) {
  const kept = [];
  for (const column of new Set(nodes.map((node) => node.column))) {
    kept.push(...nodes.filter((node) => node.column === column).sort((a, b) => b.rate - a.rate).slice(0, 24).sort((a, b) => (a.id < b.id ? -1 : 1)));
  }
  return kept;
}

/** Lets the edges at one side of a node begin below each other, in the order of where they lead. */
function stack(edges, here, there, key) {
  for (const node of new Set(edges.map((edge) => edge[here]))) {
    const own = edges.filter((edge) => edge[here] === node).sort((a, b) => a[there].y - b[there].y);
    const needed = sum(own.map((edge) => edge.width)) + own.length - 1;
    const squeeze = Math.min(1, (BOX - 6) / needed);
    let y = node.y + BOX / 2 - (needed * squeeze) / 2;
    for (const edge of own) {
      edge[key] = y + (edge.width * squeeze) / 2;
      y += (edge.width + 1) * squeeze;
    }
  }
}

function line(edge, box) {
  const [x1, x2] = [edge.start.x + box, edge.end.x];
  const bend = (x2 - x1) / 2;
  const told = `${edge.start.name} → ${edge.end.name}: ${short(edge.rate)} a second, ${percent(edge.rate > 0 ? edge.errors / edge.rate : 0)} errors`;
  return s("path", { class: `edge ${kind(edge)}`, d: `M${x1} ${edge.y1.toFixed(1)}C${x1 + bend} ${edge.y1.toFixed(1)} ${x2 - bend} ${edge.y2.toFixed(1)} ${x2} ${edge.y2.toFixed(1)}`, "stroke-width": edge.width.toFixed(1), "data-from": edge.start.name, "data-to": edge.end.name },
    s("title", null, told));
}

function boxed(node, box) {
  const small = box < 120;
  const inset = small ? 7 : 10;
  const letters = Math.floor((box - 2 * inset) / 7.2);
  const cut = (text, most) => (text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text);
  const rate = `${short(node.rate)}/s`;
  const errors = node.rate > 0 && node.errors / node.rate >= WARN ? `${percent(node.errors / node.rate)} errors` : "";
  const beside = errors || (box > 130 ? node.detail : "");
  // Where there is room for one of both only, errors are it.
  const told = small ? errors || rate : [rate, beside].filter(Boolean).join(" · ");
  return s("g", { class: `node ${kind(node)}`, "data-node": node.name },
    s("title", null, `${node.gateway ? `${node.gateway}: ` : ""}${node.name} ${node.detail}`),
    s("rect", { x: node.x, y: node.y, width: box, height: BOX, rx: 8 }),
    s("text", { x: node.x + inset, y: node.y + 16 }, cut(node.name, letters)),
    s("text", { class: "soft", x: node.x + inset, y: node.y + 31 }, cut(told, letters + 2)));
}

function told(nodes, edges) {
  const busy = edges.filter((edge) => edge.rate > 0).length;
  return `${nodes.length} services, ${busy} of ${edges.length} connections between them carry requests`;
}
