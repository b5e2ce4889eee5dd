// The frame: which view is shown, the state of the gateway, colours, keys.

import { h, replace, pill } from "./dom.js";
import { follow, history, start, trouble, useToken } from "./data.js";
import { overview } from "./views/overview.js";
import { graph } from "./views/graph.js";
import { routes } from "./views/routes.js";
import { upstreams } from "./views/upstreams.js";
import { plugins } from "./views/plugins.js";
import { configuration } from "./views/configuration.js";
import { certificates } from "./views/certificates.js";
import { tap } from "./views/tap.js";

const VIEWS = [
  ["overview", "Overview", overview], ["graph", "Graph", graph], ["routes", "Routes", routes],
  ["upstreams", "Upstreams", upstreams], ["plugins", "Plugins", plugins],
  ["configuration", "Configuration", configuration], ["certificates", "Certificates", certificates],
  ["tap", "Tap", tap],
];

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const state = document.getElementById("state");
let current = null;
let shown = null;

nav.append(...VIEWS.map(([id, title], index) =>
  h("a", { href: `#/${id}`, title: `${title} (key ${index + 1})` }, title)));

function show() {
  const id = location.hash.slice(2) || "overview";
  const [name, title, view] = VIEWS.find(([known]) => known === id) ?? VIEWS[0];
  if (shown === name) return;
  current?.end?.();
  shown = name;
  document.title = `${title} · Tidegate`;
  nav.querySelectorAll("a").forEach((link) => {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  reveal();
  current = view();
  main.replaceChildren(current.element);
  window.scrollTo(0, 0);
  current.update?.();
}

/** Moves the bar sideways where the link of what is shown would not be seen. */
function reveal() {
  nav.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function tell() {
  const now = history[history.length - 1];
  const error = trouble();
  if (error?.wantsToken) return askForToken();
  if (main.dataset.asks) {
    delete main.dataset.asks;
    shown = null;
    show();
  }
  const [kind, text] = error ? ["bad", "not reached"]
    : !now ? ["", "connecting"]
    : now.draining ? ["warn", "draining"]
    : now.rejected ? ["bad", "configuration refused"]
    : now.served < now.generation ? ["warn", `generation ${now.generation} on its way`]
    : ["good", `generation ${now.generation}`];
  state.className = `pill ${kind}`;
  state.textContent = text;
  current?.update?.();
}

function askForToken() {
  state.className = "pill warn";
  state.textContent = "token wanted";
  if (main.dataset.asks) return;
  main.dataset.asks = "yes";
  const field = h("input", { id: "token", type: "password", autocomplete: "off", required: true });
  const form = h("form", { class: "sheet", onsubmit: (event) => { event.preventDefault(); useToken(field.value); } },
    h("h1", null, "Admin token"),
    h("p", { class: "soft" }, "This gateway's admin API asks for a token (", h("code", null, "admin.token"), "). It is kept until the tab is closed."),
    h("div", { class: "row" }, h("div", { class: "grow" }, h("label", { for: "token" }, "Token"), field), h("button", null, "Use")));
  replace(main, form);
  field.focus();
}

const THEMES = [["", "Auto", "as the system has them"], ["light", "Light", "light"], ["dark", "Dark", "dark"]];
const button = document.getElementById("theme");

function colours(name) {
  const [value, title, what] = THEMES.find(([known]) => known === name) ?? THEMES[0];
  if (value) document.documentElement.dataset.theme = value;
  else delete document.documentElement.dataset.theme;
  button.textContent = title;
  button.setAttribute("aria-label", `Colours: ${what}`);
  localStorage.setItem("tidegate-colours", value);
  current?.recolour?.();
}

button.addEventListener("click", () => {
  const at = THEMES.findIndex(([known]) => known === (document.documentElement.dataset.theme ?? ""));
  colours(THEMES[(at + 1) % THEMES.length][0]);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => current?.recolour?.());

// Number keys choose a view, where nobody is typing.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  const view = VIEWS[Number(event.key) - 1];
  if (view) location.hash = `#/${view[0]}`;
});

colours(localStorage.getItem("tidegate-colours") ?? "");
window.addEventListener("hashchange", show);
window.addEventListener("resize", reveal);
follow(tell);
show();
start();
