// Wasm plugins: what they cost, what they decide, which versions run.

import { h, pill, replace, table } from "../dom.js";
import { earlier, grown, history, span } from "../data.js";
import { bytes, short, time } from "../format.js";

export function plugins() {
  const list = h("section", { class: "sheet" });
  const versions = h("section", { class: "sheet" });
  const element = h("div", { class: "stack" }, h("h1", null, "Plugins"), list, versions);
  function update() {
    const now = history[history.length - 1];
    if (!now) return;
    const seen = span(10);
    replace(list, h("h2", null, "By name"), table(now.plugins.map((plugin) => row(plugin, seen)), [
      ["Plugin", (one) => h("strong", null, one.name)],
      ["State", (one) => one.states.map(([state, why]) => h("div", null, pill(state === "running" ? "good" : state === "loading" ? "warn" : "bad", state), why && h("div", { class: "soft small" }, why)))],
      ["Requests/s", (one) => short(one.rate), "num"],
      ["Answered itself", (one) => short(one.replies), "num"],
      ["Traps", (one) => h("td", { class: one.traps ? "num bad" : "num" }, short(one.traps)), "num"],
      ["Over time", (one) => h("td", { class: one.timeouts ? "num bad" : "num" }, short(one.timeouts)), "num"],
      ["Refused calls", (one) => short(one.refused), "num"],
    ], "The configuration has no plugins."));
    replace(versions, h("h2", null, "Versions that are held"), table(now.modules, [
      ["Plugin", (one) => one.plugin],
      ["Version", (one) => h("code", null, one.version)],
      ["Instances", (one) => short(one.instances), "num"],
      ["Memory", (one) => bytes(one.memoryBytes), "num"],
      ["Requests inside", (one) => short(one.requests), "num"],
      ["Guest/call", (one) => mean(one, seen, "guest"), "num"],
      ["Host/call", (one) => mean(one, seen, "host"), "num"],
      ["Calls", (one) => short(one.calls), "num"],
    ], "No module is loaded."));
  }
  return { element, update };
}

function row(plugin, seen) {
  const old = seen && earlier(seen.before.plugins, plugin, "name");
  const { pluginStates } = history[history.length - 1];
  // A rule that replaces the configuration has a state of its own: `name@route/rule`.
  const states = Object.entries(pluginStates).filter(([key]) => key === plugin.name || key.startsWith(`${plugin.name}@`))
    .map(([key, { state, why, newer }]) => [state, [key === plugin.name ? "" : key, why ?? newer ?? ""].filter(Boolean).join(": ")]);
  return { ...plugin, states, rate: seen ? grown(plugin.requests, old?.requests) / seen.seconds : NaN };
}

/** Of the sampled calls of the last seconds, or of all where there were none. */
function mean(one, seen, side) {
  const old = seen && earlier(seen.before.modules, one, "plugin", "sha256");
  const calls = old ? one[side].count - old[side].count : 0;
  if (calls > 0) return time((one[side].seconds - old[side].seconds) / calls);
  return one[side].count > 0 ? time(one[side].seconds / one[side].count) : "–";
}
