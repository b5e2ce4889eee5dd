// The running configuration, what is wrong with it, and what is still held of earlier ones.

import { h, replace, table } from "../dom.js";
import { history, json, send } from "../data.js";
import { date, short } from "../format.js";
import { one, problems } from "./problems.js";

export function configuration() {
  const trouble = h("div", { class: "stack" });
  const about = h("section", { class: "sheet" });
  const held = h("section", { class: "sheet" });
  const text = h("pre");
  const element = h("div", { class: "stack" }, h("h1", null, "Configuration"), trouble, about, held, candidate(),
    h("section", { class: "sheet" }, h("h2", null, "What runs, without its secrets"), text));
  let generation = null;

  async function load(now) {
    try {
      const shown = await json("/config");
      text.textContent = JSON.stringify(shown.document, null, 2);
      replace(about, h("h2", null, `Generation ${shown.generation}`), h("p", { class: "soft" }, `Published ${date(shown.since)}, ${shown.served >= shown.generation ? "" : "not yet "}served by all workers.`),
        (shown.warnings ?? []).map((warning) => h("div", { class: "note warn" }, one(warning))));
      generation = now.generation;
    } catch (error) {
      replace(about, h("div", { class: "note bad" }, error.message));
    }
  }

  function update() {
    const now = history[history.length - 1];
    if (!now) return;
    replace(trouble, problems(now));
    if (now.generation !== generation) load(now);
    replace(held, h("h2", null, "Generations that are held"), table(now.generations, [
      ["Generation", (row) => row.generation],
      ["Since", (row) => date(row.since)],
      ["Workers", (row) => short(row.workers), "num"],
      ["Requests", (row) => short(row.requests), "num"],
    ], "None."));
  }
  return { element, update };
}

/** Tries a configuration without running it. */
function candidate() {
  const text = h("textarea", { id: "candidate", rows: 6, spellcheck: "false", placeholder: "A whole configuration in YAML" });
  const asked = h("textarea", { id: "asked", rows: 3, spellcheck: "false", placeholder: "GET http://shop.example.com/orders" });
  const answer = h("div", { "aria-live": "polite" });
  async function compare(event) {
    event.preventDefault();
    const requests = asked.value.split("\n").map((line) => line.trim().split(/\s+/)).filter(([, url]) => url).map(([method, url]) => ({ method, url }));
    try {
      const told = await send("/diff", { document: text.value, requests });
      const problems = told.problems.map((problem) => h("div", { class: "note bad" }, one(problem)));
      const changes = told.changes.map((change) => h("li", null, h("code", null, change.request), h("ul", { class: "path" },
        change.differs.map((differs) => h("li", null, differs.what, ": ", h("span", { class: "minus" }, differs.before || "–"), " → ", h("span", { class: "plus" }, differs.after || "–"))))));
      replace(answer, problems, told.problems.length === 0 && (changes.length ? h("ul", { class: "path" }, changes) : h("p", { class: "soft" }, `It is right, and none of the ${told.compared} requests would be treated otherwise.`)));
    } catch (error) {
      replace(answer, h("div", { class: "note bad" }, error.message));
    }
  }
  return h("details", { class: "sheet" }, h("summary", null, "Compare a candidate"),
    h("form", { class: "stack", onsubmit: compare },
      h("div", null, h("label", { for: "candidate" }, "Configuration"), text),
      h("div", null, h("label", { for: "asked" }, "Requests, one a line"), asked),
      h("div", null, h("button", null, "Compare")), answer));
}
