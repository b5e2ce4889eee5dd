//! One exchange on the wire: the client's side, the upstream's answers, and the pace of both, which the guest's lines set.

mod http1;
mod http2;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_testkit::{Answer, Call, Gate, Step};

use super::cases::Case;
use super::observe::{Observation, received};
use super::peer::Peer;
use crate::process::Log;

/// What holds the upstream's chunks back; one exchange goes on at a time.
static GATES: Mutex<Vec<Gate>> = Mutex::new(Vec::new());
/// Cases are numbered, so that lines of one never count for another.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// What follows the first chunk of an answer in chunks.
const CHUNKS: [&str; 2] = ["cd", "ef"];

/// How long a guest may take to speak about a piece before the next one follows anyway.
const SILENCE: Duration = Duration::from_millis(120);
/// How long an answer may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(3);
/// How long the end of a stream may take after its answer.
const END: Duration = Duration::from_millis(800);

/// The guest's lines about one exchange.
pub(crate) struct Pace<'a> {
    log: &'a Arc<Log>,
    id: String,
}

impl Pace<'_> {
    /// Waits until the guest has spoken of `callback` that often, or is silent.
    pub(crate) fn wait(&self, callback: &str, count: usize) {
        self.waiting(callback, count)();
    }

    /// [`Pace::wait`], to be done on another thread.
    pub(crate) fn waiting(&self, callback: &str, count: usize) -> impl FnOnce() + Send + 'static {
        let (log, text) = (Arc::clone(self.log), format!("tg:{}:{callback} ", self.id));
        // Silence is an answer too.
        move || _ = log.wait(&text, count, SILENCE)
    }

    /// The name that the guest gives its lines.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

/// Sends a case's traffic to a proxy and collects what comes of it.
pub(crate) fn run(peer: &Peer, case: &Case) -> Observation {
    let id = format!("c{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let guests = if case.listener == "pair" { vec![".a", ".b"] } else { vec![""] };
    peer.upstream.forget();
    let held = if matches!(case.target, "/chunks" | "/trailers") { CHUNKS.len() } else { 0 };
    let gates: Vec<Gate> = (0..held).map(|_| Gate::new()).collect();
    *GATES.lock().unwrap_or_else(PoisonError::into_inner) = gates.clone();
    let address = peer.address(&case.listener);
    let inner = format!("{id}{}", guests.last().copied().unwrap_or_default());
    let over = AtomicBool::new(false);
    let client = std::thread::scope(|scope| {
        scope.spawn(|| {
            let pace = Pace { log: &peer.log, id: inner.clone() };
            for (nth, gate) in gates.iter().enumerate() {
                let answering = format!("tg:{inner}:rsh");
                while !peer.log.wait(&answering, 1, SILENCE) {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                }
                pace.wait("rsb", nth + 1);
                gate.open();
            }
        });
        let pace = Pace { log: &peer.log, id: id.clone() };
        let exchange = || match case.http2 {
            true => http2::exchange(address, case, &pace),
            false => http1::exchange(address, case, &pace),
        };
        let outcome = catch_unwind(AssertUnwindSafe(exchange));
        // Said in any case, or the other thread would wait for ever.
        over.store(true, Ordering::Relaxed);
        outcome.unwrap_or_default()
    });
    for guest in guests {
        peer.log.wait(&format!("tg:{id}{guest}:delete"), 1, END);
    }
    let mut upstream: Vec<String> = peer.upstream.requests().iter().map(received).collect();
    upstream.sort();
    let lines = peer.log.having(&format!("tg:{id}")).iter().map(|line| said(line, &id)).collect();
    Observation { client, upstream, lines, crashed: false }
}

/// What the guest said in a line of the log, without the number of the case.
fn said(line: &str, id: &str) -> String {
    let text = line.split_once("tg:").map_or("", |(_, text)| text);
    let text = text.split_once(";;").map_or(text, |(text, _)| text);
    text.strip_prefix(id).unwrap_or(text).trim_start_matches(':').to_owned()
}

/// What the upstream answers, by the path.
pub(crate) fn answer(call: &Call<'_>) -> Answer {
    let (path, _) = call.head.target.split_once('?').unwrap_or((&call.head.target, ""));
    let head = "HTTP/1.1 200 OK\r\nx-t-up: yes\r\ncontent-type: text/plain\r\n";
    let gates = GATES.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let chunk = |text: &str| Step::send(format!("{:x}\r\n{text}\r\n", text.len()));
    let chunks = |end: &str, announced: &str| {
        let mut steps = vec![
            Step::ReadBody,
            Step::send(format!("{head}{announced}transfer-encoding: chunked\r\n\r\n2\r\nab\r\n")),
        ];
        for (gate, text) in gates.iter().zip(CHUNKS) {
            steps.extend([Step::Wait(gate.clone()), chunk(text)]);
        }
        steps.push(Step::send(end));
        Answer::steps(steps)
    };
    if let Some(control) = path.strip_prefix("/keep/") {
        let kept = format!("cache-control: {control}\r\netag: \"v1\"\r\ncache-tag: kept\r\n");
        return match call.head.headers.get("if-none-match") {
            Some("\"v1\"") => Answer::reply(format!("HTTP/1.1 304 Not Modified\r\n{kept}\r\n")),
            _ => Answer::reply(format!("{head}{kept}content-length: 5\r\n\r\nhello")),
        };
    }
    if let Some(path) = path.strip_prefix("/authz") {
        return match path {
            "/denied" => {
                Answer::reply("HTTP/1.1 403 Forbidden\r\nx-t-why: so\r\ncontent-length: 2\r\n\r\nno")
            }
            "/login" => Answer::reply("HTTP/1.1 302 Found\r\nlocation: /in\r\ncontent-length: 0\r\n\r\n"),
            "/broken" => Answer::reply("HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n"),
            _ => Answer::reply("HTTP/1.1 200 OK\r\nx-t-user: ann\r\ncontent-length: 0\r\n\r\n"),
        };
    }
    match path {
        "/body" => Answer::reply(format!("{head}content-length: 5\r\n\r\nhello")),
        "/costly" => Answer::reply(format!("{head}x-t-cost: 60\r\ncontent-length: 0\r\n\r\n")),
        "/204" => Answer::reply("HTTP/1.1 204 No Content\r\nx-t-up: yes\r\n\r\n"),
        "/304" => Answer::reply("HTTP/1.1 304 Not Modified\r\nx-t-up: yes\r\n\r\n"),
        "/chunks" => chunks("0\r\n\r\n", ""),
        "/trailers" => chunks("0\r\nx-t-end: one\r\n\r\n", "trailer: x-t-end\r\n"),
        "/call" => Answer::reply("HTTP/1.1 201 Created\r\nx-t-up: call\r\ncontent-length: 6\r\n\r\ncalled"),
        // Without a body, so that most cases do not show how chunks and ends were put together.
        _ => Answer::reply(format!("{head}content-length: 0\r\n\r\n")),
    }
}
