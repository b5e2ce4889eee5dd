// What the gateway tells: asked for every second while somebody looks, kept as a short history.

/** Seconds between questions, and how many answers are kept: five minutes. */
const EVERY = 1000;
const KEPT = 301;

export const history = [];
const listeners = new Set();
let failure = null;

/** Calls back with each new answer. */
export function follow(call) {
  listeners.add(call);
  return () => listeners.delete(call);
}

export const trouble = () => failure;

const TOKEN = "tidegate-token";

/** Asks the admin API; throws with its words when it refuses. */
export async function ask(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { ...(options.headers ?? {}), ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers, cache: "no-store" });
  if (answer.status === 401) {
    const error = new Error("the admin API wants its token");
    error.wantsToken = true;
    throw error;
  }
  return answer;
}

export async function json(path, options) {
  const answer = await ask(path, options);
  if (!answer.ok) throw new Error((await answer.text()).trim() || `answered ${answer.status}`);
  return answer.json();
}

export const send = (path, body, method = "POST") =>
  json(path, { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

export function useToken(token) {
  sessionStorage.setItem(TOKEN, token);
  poll();
}

let timer = null;

async function poll() {
  clearTimeout(timer);
  if (!document.hidden) {
    try {
      const stats = await json("/stats");
      const last = history[history.length - 1];
      // A restart begins all counters again.
      if (last && (stats.started !== last.started || stats.time - last.time > 15)) history.length = 0;
      history.push(stats);
      if (history.length > KEPT) history.shift();
      failure = null;
    } catch (error) {
      failure = error;
    }
    listeners.forEach((call) => call());
  }
  timer = setTimeout(poll, EVERY);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });

export const start = poll;

/** The newest answer, and the one some seconds before it; none before there are two. */
export function span(seconds = 5) {
  const now = history[history.length - 1];
  if (!now || history.length < 2) return null;
  let before = history[0];
  for (const stats of history) if (now.time - stats.time >= seconds - 0.25) before = stats;
  return { now, before, seconds: now.time - before.time };
}

/** By how much a counter has grown; one that began again has grown by what it shows. */
export const grown = (now, before) => (now >= (before ?? 0) ? now - (before ?? 0) : now);

export const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

/** The same named thing in an earlier answer. */
export function earlier(list, item, ...keys) {
  return list.find((other) => keys.every((key) => other[key] === item[key]));
}

/** Requests and errors (5xx or no answer) of one span, and time below which a share of them took. */
export function traffic({ now, before, seconds }) {
  const counts = now.latency.counts.map((count, index) => grown(count, before.latency.counts[index]));
  const ended = sum(counts);
  // Of all listeners: what is refused before it has a route is of none.
  const classes = now.requests.classes.map((count, index) => grown(count, before.requests.classes[index]));
  const errors = classes[4];
  const below = (share) => quantile(now.latency.bounds, counts, ended, share);
  return {
    rate: ended / seconds, classes: classes.map((count) => count / seconds), errors: errors / seconds,
    share: ended ? Math.min(1, errors / ended) : 0, p50: below(0.5), p99: below(0.99),
  };
}

/** Inside a bucket times are taken as spread evenly. */
function quantile(bounds, counts, total, share) {
  if (total === 0) return null;
  let left = total * share;
  for (let index = 0; index < counts.length; index++) {
    if (left <= counts[index] && counts[index] > 0) {
      const low = index === 0 ? 0 : bounds[index - 1];
      const high = bounds[index] ?? low;
      return low + (high - low) * (left / counts[index]);
    }
    left -= counts[index];
  }
  return bounds[bounds.length - 1];
}
