// What is wrong with a configuration, with line and hint.

import { h } from "../dom.js";
import { date } from "../format.js";

/** The refused configuration of a state, if there is one. */
export function problems(now) {
  if (!now.rejected) return null;
  const { since, problems: list } = now.rejected;
  return h("div", { class: "note bad", role: "alert" },
    h("p", null, h("strong", null, "A new configuration was refused"), ` (${date(since)}). The one before it goes on.`),
    list.map((problem) => one(problem)));
}

/** One problem. */
export function one(problem) {
  const place = [problem.source, problem.line].filter(Boolean).join(":");
  return h("p", { class: "problem" },
    h("code", null, place), problem.path ? [" ", h("strong", null, problem.path)] : "", ": ", problem.message,
    problem.hint ? h("span", { class: "soft" }, ` ${problem.hint}`) : "");
}
