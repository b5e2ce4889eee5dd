// Certificates of listeners and when they end.

import { h, pill, replace, table } from "../dom.js";
import { history, json } from "../data.js";
import { date } from "../format.js";

const DAY = 86400;

export function certificates() {
  const place = h("section", { class: "sheet" });
  const element = h("div", null, h("h1", null, "Certificates"), place);
  let asked = null;
  async function update() {
    const now = history[history.length - 1];
    if (!now || asked === now.generation) return;
    asked = now.generation;
    try {
      const { certificates: list } = await json("/certificates");
      replace(place, table(list.sort((a, b) => a.notAfter - b.notAfter), [
        ["Names", (one) => one.names.join(", ") || one.subject],
        ["Left", (one) => {
          const days = Math.floor((one.notAfter - Date.now() / 1000) / DAY);
          return pill(days < 7 ? "bad" : days < 30 ? "warn" : "good", days < 0 ? "expired" : `${days} days`);
        }],
        ["Ends", (one) => date(one.notAfter)],
        ["Listener", (one) => one.listener],
        ["Issuer", (one) => one.issuer],
        ["File", (one) => h("code", null, one.file)],
      ], "No listener has a certificate."));
    } catch (error) {
      asked = null;
      replace(place, h("div", { class: "note bad" }, error.message));
    }
  }
  return { element, update };
}
