// Upstreams and their servers.

import { h, pill, replace, table } from "../dom.js";
import { earlier, grown, history, span } from "../data.js";
import { short } from "../format.js";

/** Why a server gets no requests. */
const WORDS = { check: "fails its check", outlier: "left out: worse than others", source: "not well, says its source" };

export function upstreams() {
  const place = h("div", { class: "cards" });
  const element = h("div", null, h("h1", null, "Upstreams"), place);
  function update() {
    const now = history[history.length - 1];
    if (!now) return;
    const seen = span(5);
    replace(place, now.upstreams.length ? now.upstreams.map((upstream) => card(upstream, seen)) : h("p", { class: "empty" }, "The configuration has no upstreams."));
  }
  return { element, update };
}

function card(upstream, seen) {
  const old = seen && earlier(seen.before.upstreams, upstream, "name");
  const rate = (key) => (seen ? grown(upstream[key], old?.[key]) / seen.seconds : NaN);
  const out = upstream.servers.filter((server) => server.state !== "healthy").length;
  return h("section", { class: "sheet" },
    h("div", { class: "row between" }, h("h2", null, upstream.name),
      out === 0 ? pill("good", `${upstream.servers.length} in use`) : pill(out === upstream.servers.length ? "bad" : "warn", `${out} of ${upstream.servers.length} out`)),
    h("p", { class: "soft small" },
      `${upstream.balance} · ${short(rate("requests"))} attempts/s · ${short(rate("retries"))} retries/s · ${short(upstream.pending)} waiting`,
      upstream.connectFailures > 0 && ` · ${short(upstream.connectFailures)} connections failed`,
      upstream.ejections > 0 && ` · left out ${short(upstream.ejections)} times`,
      upstream.overflow > 0 && ` · ${short(upstream.overflow)} over a limit`),
    table(upstream.servers.slice(0, 50), [
      ["Server", (server) => [h("span", { class: "mono" }, server.address), server.host && !server.address.startsWith(server.host) && h("span", { class: "soft small" }, ` ${server.host}`)]],
      ["State", (server) => pill(server.state === "healthy" ? "good" : "bad", server.state.split(", ").map((word) => WORDS[word] ?? word).join(", "))],
      ...(upstream.servers.some((server) => server.zone) ? [["Zone", (server) => server.zone ?? ""]] : []),
      ...(upstream.servers.some((server) => server.priority > 0) ? [["Priority", (server) => String(server.priority), "num"]] : []),
      ["In flight", (server) => short(server.inFlight), "num"],
      ["Weight", (server) => short(server.weight), "num"],
    ], "No server is known."),
    upstream.servers.length > 50 && h("p", { class: "soft small" }, `and ${upstream.servers.length - 50} more`));
}
