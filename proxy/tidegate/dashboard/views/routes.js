// The routes, and where a request would go.

import { h, replace, table } from "../dom.js";
import { earlier, grown, history, send, span, sum } from "../data.js";
import { percent, short } from "../format.js";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

export function routes() {
  const list = h("section", { class: "sheet" });
  const answer = h("div", { "aria-live": "polite" });
  const method = h("select", { id: "method" }, METHODS.map((name) => h("option", null, name)));
  const url = h("input", { id: "url", placeholder: "http://shop.example.com/orders?x=1", required: true, spellcheck: "false", autocomplete: "off" });
  const fields = h("textarea", { id: "fields", placeholder: "x-env: staging", rows: 2, spellcheck: "false" });

  async function explain(event) {
    event.preventDefault();
    const headers = fields.value.split("\n").filter((line) => line.includes(":")).map((line) => {
      const at = line.indexOf(":", line.startsWith(":") ? 1 : 0);
      return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    });
    try {
      replace(answer, explained(await send("/explain", { method: method.value, url: url.value, headers })));
    } catch (error) {
      replace(answer, h("div", { class: "note bad" }, error.message));
    }
  }

  const box = h("form", { class: "sheet stack", onsubmit: explain },
    h("h2", null, "Where would this request go?"),
    h("div", { class: "row" },
      h("div", null, h("label", { for: "method" }, "Method"), method),
      h("div", { class: "grow" }, h("label", { for: "url" }, "URL"), url)),
    h("div", null, h("label", { for: "fields" }, "Headers, one a line"), fields),
    h("div", { class: "row" }, h("button", null, "Explain"), h("span", { class: "soft small" }, "Asks the running configuration; nothing is sent.")),
    answer);
  const element = h("div", { class: "stack" }, h("h1", null, "Routes"), box, list);

  function update() {
    const now = history[history.length - 1];
    if (!now) return;
    const seen = span(5);
    const rows = now.routes.map((route) => {
      const old = seen && earlier(seen.before.routes, route, "name");
      const counts = route.classes.map((count, index) => (seen ? grown(count, old?.classes[index]) : 0));
      return { ...route, rate: seen ? (sum(counts) + grown(route.connections, old?.connections)) / seen.seconds : NaN, share: sum(counts) ? counts[4] / sum(counts) : 0 };
    });
    replace(list, h("h2", null, "All routes"), table(rows, [
      ["Route", (row) => h("strong", null, row.name)],
      ["Hosts", (row) => (row.hostnames.length ? row.hostnames.join(", ") : h("span", { class: "soft" }, "all"))],
      ["Listeners", (row) => row.listeners.join(", ")],
      ["To", (row) => row.upstreams.join(", ")],
      ["Requests/s", (row) => short(row.rate), "num"],
      ["2xx", (row) => short(row.classes[1]), "num"],
      ["3xx", (row) => short(row.classes[2]), "num"],
      ["4xx", (row) => short(row.classes[3]), "num"],
      ["5xx", (row) => h("td", { class: row.share > 0.01 ? "num bad" : "num" }, short(row.classes[4]), row.share > 0 ? ` (${percent(row.share)})` : ""), "num"],
    ], "The configuration has no routes."));
  }
  return { element, update };
}

/** An explanation as the gateway gives it. */
function explained(told) {
  const part = (title, content) => h("div", null, h("strong", null, title), " ", content);
  const losers = (list) => h("ul", { class: "path" }, list.map((loser) => h("li", null, h("code", null, loser.name), " ", h("span", { class: "soft" }, loser.why))));
  const { chosen } = told;
  return h("div", { class: "stack explained" },
    h("div", { class: "note" }, h("code", null, told.request)),
    told.canonical && part("As it is matched:", h("code", null, told.canonical)),
    part("Listener:", told.listener ?? h("span", { class: "soft" }, "none takes it")),
    told.refused && h("div", { class: "note bad" }, "Refused: ", told.refused),
    chosen ? [
      part("Rule:", [h("code", null, `${chosen.route}/${chosen.rule}`), " ", h("span", { class: "soft" }, chosen.matched)]),
      chosen.filters.length > 0 && h("div", null, h("strong", null, "Filters, in order:"), h("ol", { class: "path" }, chosen.filters.map((filter) => h("li", null, filter)))),
      h("div", null, h("strong", null, "Then:"), h("ul", { class: "path" }, chosen.action.map((line) => h("li", null, line)))),
      h("p", { class: "soft small" }, chosen.timeouts, h("br"), chosen.retries),
    ] : !told.refused && told.listener && h("div", { class: "note warn" }, "No rule is for it: the answer is 404."),
    told.others.length > 0 && h("details", { open: !chosen }, h("summary", null, `Why ${told.others.length} other rule${told.others.length === 1 ? " is" : "s are"} not for it`), losers(told.others)),
    told.otherListeners.length > 0 && h("details", null, h("summary", null, "Other listeners"), losers(told.otherListeners)));
}
