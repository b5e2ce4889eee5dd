// The dashboard in a real browser: a gateway with servers and load of its own, and what a person would see of it.
//
//     node dashboard.mjs --tidegate PROGRAM --chromium PROGRAM --shots FOLDER

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const options = Object.fromEntries(process.argv.slice(2).map((word, index, all) => (index % 2 ? [] : [word.slice(2), all[index + 1]])).filter((pair) => pair.length));

/** Where a program is: Playwright looks nowhere by itself. */
const whole = (program) => (program.includes("/") ? program
  : process.env.PATH.split(delimiter).map((folder) => join(folder, program)).find(existsSync) ?? program);

/** Longest wait for something that should be there at once. */
const PATIENCE = 15_000;

/** Widths and colours in which everything is looked at. */
const SIGHTS = [[1440, "light"], [390, "light"], [1440, "dark"], [390, "dark"]];

let passed = 0;
const failed = [];

async function check(name, run) {
  try {
    await run();
    passed += 1;
    console.log(`ok     ${name}`);
  } catch (error) {
    failed.push(name);
    console.log(`FAILED ${name}\n       ${String(error).split("\n").slice(0, 4).join("\n       ")}`);
  }
}

function equal(found, wanted, what) {
  if (found !== wanted) throw new Error(`${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}`);
}

const port = () => new Promise((give) => {
  const socket = net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = socket.address();
    socket.close(() => give(port));
  });
});

/** A server that answers 200, or what it is told to. */
async function upstream() {
  const state = { status: 200 };
  const server = http.createServer((_, answer) => {
    answer.statusCode = state.status;
    answer.end("ok");
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return { state, address: `127.0.0.1:${server.address().port}`, close: () => { server.closeAllConnections(); server.close(); } };
}

const configuration = (admin, web, orders, catalogue) => `
admin: { address: "127.0.0.1:${admin}", name: edge, tap: { bodies: true } }
listeners: [{ name: web, address: "127.0.0.1:${web}" }]
routes:
  - name: shop
    hostnames: [shop.example]
    rules:
      - { name: orders, matches: [{ path: { prefix: /orders } }], forward: [{ upstream: orders }] }
      - { name: rest, forward: [{ upstream: catalogue }] }
upstreams:
  orders: { servers: ["${orders}"], ejection: false }
  catalogue: { servers: ["${catalogue}"] }
`;

/** Requests until it is told to stop. */
function load(web) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
  let running = true;
  const once = (path) => new Promise((done) => {
    const request = http.get({ port: web, host: "127.0.0.1", path, agent, headers: { host: "shop.example" } }, (answer) => {
      answer.resume();
      answer.on("end", done);
    });
    request.on("error", done);
  });
  const loop = async (path) => { while (running) { await once(path); await new Promise((go) => setTimeout(go, 10)); } };
  const loops = ["/orders/1", "/orders/2", "/shoes"].map(loop);
  return async () => { running = false; await Promise.all(loops); agent.destroy(); };
}

const folder = mkdtempSync(join(tmpdir(), "tidegate-dashboard-"));
mkdirSync(options.shots, { recursive: true });
const [admin, web] = [await port(), await port()];
const [orders, catalogue] = [await upstream(), await upstream()];
const file = join(folder, "tidegate.yaml");
const written = configuration(admin, web, orders.address, catalogue.address);
writeFileSync(file, written);
const gateway = spawn(options.tidegate, ["run", file, "--log", "error"], { stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, TIDEGATE_CACHE: join(folder, "cache") } });
const browser = await chromium.launch({ executablePath: whole(options.chromium), args: ["--no-sandbox"] });
const address = `http://127.0.0.1:${admin}`;
/** Gateways besides. */
const others = [];

async function ready() {
  for (const end = Date.now() + PATIENCE; Date.now() < end;) {
    try {
      if ((await fetch(`${address}/readyz`)).ok) return;
    } catch { /* It does not listen yet. */ }
    await new Promise((go) => setTimeout(go, 50));
  }
  throw new Error("the gateway is not ready");
}

try {
  await ready();
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  await check("before the first request the graph shows where it would go", async () => {
    const early = await context.newPage();
    await early.goto(`${address}/dashboard/#/graph`);
    await early.waitForSelector('.edge.idle[data-from="shop"][data-to="orders"]', { state: "attached", timeout: PATIENCE });
    await early.close();
  });
  await check("a chart that begins has no time twice on its axis", async () => {
    const early = await context.newPage();
    await early.addInitScript(() => {
      window.marks = new Map();
      const drawn = CanvasRenderingContext2D.prototype;
      const [clear, write] = [drawn.clearRect, drawn.fillText];
      drawn.clearRect = function (...area) { window.marks.set(this.canvas, []); return clear.apply(this, area); };
      drawn.fillText = function (text, ...place) { window.marks.get(this.canvas)?.push(text); return write.call(this, text, ...place); };
    });
    await early.goto(`${address}/dashboard/`);
    const times = () => [...window.marks.values()].map((texts) => texts.filter((text) => /^\d\d:\d\d:\d\d$/.test(text)));
    await early.waitForFunction(`(${times})().some((marks) => marks.length > 0)`, null, { timeout: PATIENCE });
    for (const marks of await early.evaluate(`(${times})()`)) equal(new Set(marks).size, marks.length, `different times of ${marks}`);
    await early.close();
  });
  const stop = load(web);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const errors = [];
  page.on("console", (message) => { if (message.type() === "error") errors.push(message.text()); });
  page.on("pageerror", (error) => errors.push(String(error)));
  // How often the page has looked at the gateway.
  let looks = 0;
  page.on("response", (answer) => { looks += new URL(answer.url()).pathname === "/stats" ? 1 : 0; });
  const foreign = [];
  page.on("request", (request) => { if (!request.url().startsWith(address)) foreign.push(request.url()); });

  await check("the overview fills with numbers", async () => {
    await page.goto(`${address}/`);
    await page.waitForFunction(() => Number.parseFloat(document.querySelector(".tile dd")?.textContent) > 1);
    const rows = await page.locator("main table").first().locator("tbody tr").allInnerTexts();
    if (!rows.some((row) => row.startsWith("shop"))) throw new Error(`no route shop in ${rows}`);
    equal(await page.locator("#state").innerText(), "generation 1", "state");
  });
  await check("it paints within 300 ms and is below 300 KiB", async () => {
    const other = await context.newPage();
    await other.goto(`${address}/dashboard/`);
    const paint = await other.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
    const size = await other.evaluate(() => performance.getEntriesByType("resource").reduce((sum, one) => sum + one.encodedBodySize, 0));
    console.log(`       first paint ${Math.round(paint)} ms, ${Math.round(size / 1024)} KiB`);
    if (!(size < 300 * 1024)) throw new Error(`${size} bytes`);
    // A busy machine paints late: what is shown above is the figure of a calm one.
    if (!(paint < 3000)) throw new Error(`first paint after ${paint} ms`);
    await other.close();
  });
  await check("the graph shows who calls whom", async () => {
    await page.goto(`${address}/dashboard/#/graph`);
    for (const node of ["web", "shop", "orders", "catalogue"]) await page.waitForSelector(`[data-node="${node}"]`);
    await page.waitForFunction(() => document.querySelectorAll(".edge:not(.idle)").length === 3);
  });
  await check("a fault shows in red within 3 seconds", async () => {
    orders.state.status = 500;
    const [begun, before] = [Date.now(), looks];
    await page.waitForSelector('.edge.bad[data-from="shop"][data-to="orders"]', { state: "attached" });
    const took = Date.now() - begun;
    console.log(`       after ${took} ms, ${looks - before} looks`);
    // It looks each second; a busy machine answers late, and then it is the looks that count.
    if (took > 3000 && looks - before > 3) throw new Error(`only after ${took} ms and ${looks - before} looks`);
    await page.screenshot({ path: join(options.shots, "fault.png") });
    orders.state.status = 200;
  });
  await check("explain answers", async () => {
    await page.goto(`${address}/dashboard/#/routes`);
    await page.fill("#url", `http://shop.example:${web}/orders/7`);
    await page.getByRole("button", { name: "Explain" }).click();
    await page.waitForSelector("text=shop/orders");
    await page.waitForSelector(`text=${orders.address}`);
  });
  await check("a bad configuration shows its problem with line and hint", async () => {
    writeFileSync(file, written.replace("upstream: catalogue", "upstream: catalog"));
    await page.goto(`${address}/dashboard/#/configuration`);
    const problem = page.locator(".problem").first();
    await problem.waitFor();
    const text = await problem.innerText();
    for (const part of ["tidegate.yaml:9", "catalog", "did you mean"]) if (!text.includes(part)) throw new Error(`${part} is not in ${text}`);
    equal(await page.locator("#state").innerText(), "configuration refused", "state");
    writeFileSync(file, written);
    await page.waitForFunction(() => document.getElementById("state").textContent.startsWith("generation"));
  });
  await check("a candidate is compared", async () => {
    await page.locator("summary", { hasText: "Compare a candidate" }).click();
    await page.fill("#candidate", written.replace("/orders }", "/order }"));
    await page.fill("#asked", `GET http://shop.example:${web}/orders/7`);
    await page.getByRole("button", { name: "Compare" }).click();
    await page.waitForSelector("text=shop/rest");
  });
  await check("views are chosen by keys", async () => {
    await page.locator("h1").click();
    await page.keyboard.press("4");
    await page.waitForSelector("h1:has-text('Upstreams')");
    await page.waitForSelector(`text=${catalogue.address}`);
  });
  await check("a tap shows live requests with the path that they took", async () => {
    orders.state.status = 503;
    await page.goto(`${address}/dashboard/#/tap`);
    await page.fill("#tap-route", "shop/orders");
    await page.fill("#tap-status", "5xx");
    await page.fill("#tap-limit", "3");
    await page.locator("#tap-limit").press("Enter");
    await page.waitForSelector("text=3 shown, as many as asked for");
    equal(await page.locator(".request").count(), 3, "requests");
    const first = page.locator(".request").first();
    // By the keyboard, as a person without a mouse.
    await first.locator("summary").first().focus();
    await page.keyboard.press("Enter");
    const text = await first.innerText();
    for (const part of ["503", "/orders/", "shop/orders", "Why 1 other lost", orders.address]) if (!text.includes(part)) throw new Error(`${part} is not in ${text}`);
    await first.locator("summary", { hasText: "Why 1 other lost" }).click();
    await page.waitForSelector("text=shop/rest");
    orders.state.status = 200;
    for (const [width, scheme] of SIGHTS) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme: scheme });
      await page.screenshot({ path: join(options.shots, `tap-open-${width}-${scheme}.png`), fullPage: true });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) throw new Error(`it is ${wide} pixels too wide`);
    }
    await page.fill("#tap-status", "");
    await page.fill("#tap-limit", "10000");
    await page.getByRole("button", { name: "Start" }).click();
    await page.waitForFunction(() => document.querySelectorAll(".status.s2").length > 0);
    await page.getByRole("button", { name: "Stop" }).click();
    await page.waitForSelector("text=stopped");
  });
  await check("errors that no route has are counted", async () => {
    await page.goto(`${address}/dashboard/#/overview`);
    const errors = page.locator(".tile", { hasText: "Errors" }).locator("dd");
    await page.waitForFunction(() => [...document.querySelectorAll(".tile")].some((tile) => tile.textContent.startsWith("Errors0 %")));
    // Answered with 501 before there is a route.
    const trace = () => new Promise((done) => http.request({ port: web, method: "TRACE" }, (answer) => answer.resume().on("end", done)).end());
    for (let sent = 0; sent < 50; sent += 1) await trace();
    await page.waitForFunction(() => document.querySelector(".tile.bad dt")?.textContent === "Errors");
    if ((await errors.innerText()).startsWith("0 %")) throw new Error("no errors are shown");
  });
  for (const [width, scheme] of SIGHTS) {
    await check(`all views at ${width} pixels, ${scheme}`, async () => {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme: scheme });
      for (const view of ["overview", "graph", "routes", "upstreams", "plugins", "configuration", "certificates", "tap"]) {
        await page.goto(`${address}/dashboard/#/${view}`);
        await page.waitForSelector("main h1");
        await page.screenshot({ path: join(options.shots, `${view}-${width}-${scheme}.png`), fullPage: true });
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (wide > 0) throw new Error(`${view} is ${wide} pixels too wide`);
        const moved = await page.evaluate(() => [...document.querySelectorAll("main .scroll")].filter((part) => part.scrollWidth > part.clientWidth + 1).length);
        if (moved > 0) throw new Error(`${moved} parts of ${view} are wider than the page`);
      }
    });
  }
  await check("a gateway that pushes stands before the one that it calls", async () => {
    const front = join(folder, "front.yaml");
    writeFileSync(front, `
admin: { address: "127.0.0.1:0", name: front, push: { url: "${address}" } }
listeners: [{ name: entry, address: "127.0.0.1:0" }]
routes: [{ name: all, rules: [{ forward: [{ upstream: edge }] }] }]
upstreams: { edge: { servers: ["127.0.0.1:${web}"] } }
`);
    others.push(spawn(options.tidegate, ["run", front, "--log", "error"], { stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, TIDEGATE_CACHE: join(folder, "cache") } }));
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.goto(`${address}/dashboard/#/graph`);
    await page.waitForSelector('[data-node="entry"]');
    // All at once: each second they are drawn anew.
    const places = await page.evaluate(() => ["entry", "all", "edge", "web", "shop", "orders"].map((node) =>
      document.querySelector(`[data-node="${node}"] rect`).getBoundingClientRect().left));
    equal(JSON.stringify(places), JSON.stringify([...places].sort((a, b) => a - b)), "places from left to right");
    await page.screenshot({ path: join(options.shots, "merged.png") });
  });
  await check("no errors in the console, and nothing asked elsewhere", () => {
    equal(errors.join("\n"), "", "errors");
    equal(foreign.join("\n"), "", "requests to others");
  });
  await stop();
} finally {
  await browser.close();
  [gateway, ...others].forEach((one) => one.kill());
  orders.close();
  catalogue.close();
  rmSync(folder, { recursive: true });
}
console.log(`${passed} passed, ${failed.length} failed`);
process.exitCode = failed.length ? 1 : 0;
