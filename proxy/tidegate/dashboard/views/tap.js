// Live requests with the path that each took.

import { h, pill, replace } from "../dom.js";
import { ask, history } from "../data.js";
import { bytes, time } from "../format.js";

/** Requests that are kept on the page. */
const KEPT = 100;

const micros = (number) => time(number / 1e6);

export function tap() {
  const names = h("datalist", { id: "tap-routes" });
  const field = (id, title, placeholder, more) => [id, h("div", { class: "grow" }, h("label", { for: `tap-${id}` }, title),
    h("input", { id: `tap-${id}`, placeholder, autocomplete: "off", spellcheck: "false", ...more }))];
  const fields = [
    field("route", "Route", "all", { list: "tap-routes" }), field("status", "Status", "all, or 5xx,404"),
    field("path", "Path begins with", "/"), field("slowerThan", "Slower than", "0ms"), field("limit", "At most", "100", { inputmode: "numeric" }),
    field("body", "Body bytes", "0", { inputmode: "numeric", title: "First bytes of each body, where admin.tap.bodies allows it" }),
  ];
  const button = h("button", { type: "submit" }, "Start");
  const clear = h("button", { type: "button", class: "quiet", onclick: () => { list.replaceChildren(); } }, "Clear");
  const list = h("div", { class: "requests" });
  const empty = h("p", { class: "empty" }, "Requests are shown as they end, the newest first; each opens to the path that it took. While nobody looks, they cost nothing.");
  const state = h("span", { class: "soft small", role: "status" });
  let stopping = null;

  async function run() {
    const query = new URLSearchParams();
    for (const [id, box] of fields) {
      const value = box.querySelector("input").value.trim();
      if (value) query.set(id, value);
    }
    const own = new AbortController();
    stopping = own;
    button.textContent = "Stop";
    let count = 0;
    try {
      const answer = await ask(`/tap?${query}`, { signal: own.signal });
      if (!answer.ok) throw new Error((await answer.text()).trim());
      state.textContent = "Waiting for requests";
      empty.remove();
      for await (const line of lines(answer.body)) {
        const one = JSON.parse(line);
        if (one.end) {
          state.textContent = ended(one);
          continue;
        }
        count += 1;
        list.prepend(request(one));
        while (list.childElementCount > KEPT) list.lastElementChild.remove();
        state.textContent = `${count} shown`;
      }
    } catch (error) {
      if (error.name === "AbortError") state.textContent = `${count} shown, stopped`;
      else {
        state.textContent = "";
        list.prepend(h("div", { class: "note bad", role: "alert" }, error.message));
      }
    }
    if (stopping === own) stopping = null;
    button.textContent = "Start";
  }

  const form = h("form", { class: "sheet row tap-form", onsubmit: (event) => { event.preventDefault(); if (stopping) stopping.abort(); else run(); } },
    fields.map(([, box]) => box), names, h("div", { class: "row tap-do" }, button, clear, state));
  const element = h("div", { class: "stack" }, h("h1", null, "Tap"), form, h("section", { class: "sheet" }, empty, list));

  function update() {
    const now = history[history.length - 1];
    const known = (now?.routes ?? []).map((route) => route.name);
    if (names.childElementCount !== known.length) replace(names, known.map((name) => h("option", { value: name })));
  }
  return { element, update, end() { stopping?.abort(); } };
}

function ended({ end, shown, dropped }) {
  const parts = [`${shown} shown, ${end === "limit" ? "as many as asked for" : "the time is over"}`];
  if (dropped.rate) parts.push(`${dropped.rate} more in a second than wanted`);
  if (dropped.queue) parts.push(`${dropped.queue} not read in time`);
  if (dropped.load) parts.push(`${dropped.load} not looked at`);
  return parts.join("; ");
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) yield part;
  }
}

function request(one) {
  const step = (title, ...content) => h("li", null, h("span", { class: "step" }, title), h("div", null, content));
  return h("details", { class: "request" },
    h("summary", null,
      h("span", { class: "time soft mono" }, one.time.slice(11, 23)),
      h("span", { class: `status s${String(one.status)[0]}` }, one.status || "none"),
      h("span", { class: "method mono" }, one.method),
      h("span", { class: "target mono" }, `${one.host ?? ""}${one.path}`),
      one.reason ? h("span", { class: "why" }, pill("bad", one.reason)) : h("span", { class: "why" }),
      h("span", { class: "took soft" }, micros(one.durationUs))),
    h("ol", { class: "walk" },
      step("From", h("code", null, one.client), one.peer ? ` through ${one.peer}` : "", ` by listener ${one.listener}, ${one.protocol}${one.tls ? " with TLS" : ""}`,
        one.target && h("div", { class: "small soft" }, "as sent: ", h("code", null, one.target))),
      step("Rule", one.rule ? [h("strong", null, `${one.route}/${one.rule}`), one.routeBy ? ` chosen by ${one.routeBy}` : "", " ", h("span", { class: "soft" }, one.matched ?? "")] : "none", losers(one)),
      one.filters.map((filter) => step("Filter", h("strong", null, filter.plugin ?? filter.kind), " ", h("span", { class: "soft small" }, filter.at), " ", decision(filter), cost(filter),
        changes("request", filter.request), changes("response", filter.response), rest(filter))),
      one.sent.length > 0 && step("Sent", h("details", null, h("summary", { class: "soft" }, `${one.sent.length} changed in all on the way upstream`), changes("", one.sent))),
      one.attempts.map((attempt, index) => step(`Attempt ${index + 1}`, h("strong", null, attempt.upstream), " ", h("code", null, attempt.server ?? ""), " ",
        attempt.status ? pill(attempt.status >= 500 ? "bad" : "good", attempt.status) : pill("bad", attempt.reason ?? "given up"),
        h("span", { class: "soft small" }, ` ${attempt.picked ?? ""}${attempt.connection === "opened" ? `, connection opened in ${micros(attempt.waitUs)}` : attempt.connection ? ", open connection" : ""}${attempt.tookUs === undefined ? "" : `, ${micros(attempt.tookUs)}`}`),
        attempt.error && h("div", { class: "small" }, attempt.error))),
      step("Answer", h("strong", null, one.status || "none"), one.answeredBy ? ` by ${one.answeredBy}` : "", one.failedBy ? ` by ${one.failedBy}` : "", one.details ? `: ${one.details}` : "",
        h("span", { class: "soft small" }, ` ${one.headUs === undefined ? "" : `head after ${micros(one.headUs)}, `}${bytes(one.bytesReceived)} received, ${bytes(one.bytesSent)} sent`),
        one.retryStoppedBy && h("div", { class: "small" }, `no further attempt: ${one.retryStoppedBy}`),
        one.traceId && h("div", { class: "small soft" }, "trace ", h("code", null, one.traceId))),
      heads("Request fields", one.requestHeaders), heads("Answer fields", one.responseHeaders),
      body("Request body", one.requestBody), body("Answer body", one.responseBody)));

  function body(title, text) {
    return text && h("li", null, h("span", { class: "step" }), h("details", null, h("summary", { class: "soft" }, `${title}, its first bytes`), h("pre", null, text)));
  }

  function heads(title, list) {
    return list.length > 0 && h("li", null, h("span", { class: "step" }), h("details", null, h("summary", { class: "soft" }, `${title} (${list.length})`),
      h("pre", null, list.map(([name, value]) => `${name}: ${value}`).join("\n"))));
  }
}

function losers({ others, moreOthers }) {
  if (others.length === 0) return null;
  const count = others.length + (moreOthers ?? 0);
  return h("details", null, h("summary", { class: "soft" }, `Why ${count} other${count === 1 ? "" : "s"} lost`),
    others.map((other) => h("div", { class: "small" }, h("code", null, other.name), " ", h("span", { class: "soft" }, other.why))),
    moreOthers > 0 && h("div", { class: "small soft" }, `and ${moreOthers} more`));
}

const WORDS = { brokeOff: "broke off", passedOver: "failed, passed over" };

function decision({ decision: what, status, error }) {
  const kind = what === "continued" ? "good" : ["answered", "away", "passedOver"].includes(what) ? "warn" : "bad";
  return [pill(kind, `${WORDS[what] ?? what}${status ? ` ${status}` : ""}`), error && h("div", { class: "small" }, error)];
}

function cost(filter) {
  if (filter.guestUs === undefined) return null;
  const held = filter.pauses ? `, held ${filter.pauses === 1 ? "once" : `${filter.pauses} times`} for ${micros(filter.waitingUs)}` : "";
  return h("span", { class: "soft small" }, ` ${micros(filter.guestUs)} inside, ${micros(filter.hostUs)} in the host${held}`);
}

function rest(filter) {
  const line = (text) => h("div", { class: "small" }, text);
  const body = (name, body) => body?.changed && line(`${name} body written to: ${bytes(body.before)} before, ${bytes(body.after)} after`);
  return [
    body("request", filter.requestBody), body("response", filter.responseBody),
    (filter.chose ?? []).map((what) => line(`chose: ${what}`)),
    (filter.calls ?? []).map((call) => line(`called ${call.upstream ?? "the gateway"} ${call.request ?? ""}: ${call.status ?? "no answer"}`)),
    (filter.log ?? []).map((log) => h("div", { class: "small soft" }, `${log.level}: ${log.message}`)),
    (filter.refused ?? []).map((name) => line(`may not call ${name}`)),
    filter.incomplete && h("div", { class: "small soft" }, `not all of it is here: ${filter.incomplete}`),
  ];
}

function changes(side, list) {
  if (!list?.length) return null;
  return h("div", { class: "small mono changes" }, list.map(({ name, before, after }) => h("div", null, side && h("span", { class: "soft" }, `${side} `),
    before !== null && h("span", { class: "minus" }, `− ${name}: ${before} `), after !== null && h("span", { class: "plus" }, `+ ${name}: ${after}`))));
}
