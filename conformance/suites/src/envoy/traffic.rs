//! One exchange on the wire: the client's side, the upstream's answers, and the pace of both, which the guest's lines set.

mod http1;
mod http2;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tidegate_testkit::{Answer, Call, Connection, Gate, State, Step};

use super::cases::Case;
use super::config;
use super::observe::{Observation, received};
use super::peer::{Behind, Running};

/// Cases are numbered, so that lines of one never count for another.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// What follows the first chunk of an answer in chunks.
const CHUNKS: [&str; 2] = ["cd", "ef"];

/// How long a guest may take to speak about a piece before the next one follows anyway.
const SILENCE: Duration = Duration::from_millis(120);
/// How long a line may take from a proxy that has looked at everything.
const LINE: Duration = Duration::from_millis(20);
/// How long an answer may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(3);
/// How long the end of a stream may take after its answer.
const END: Duration = Duration::from_millis(800);

/// The guest's lines about one exchange.
#[derive(Clone)]
pub(crate) struct Pace {
    peer: Arc<Running>,
    id: String,
    /// Whether the guest has lines at all.
    speaks: bool,
}

impl Pace {
    /// Waits until `callback` has begun that often, as the guest says, or the guest is silent.
    pub(crate) fn wait(&self, callback: &str, count: usize) {
        let text = begun(&self.id, callback);
        if self.speaks && self.peer.log.wait(&text, count, SILENCE) {
            return;
        }
        // On a busy machine silence may only mean that nobody has read it yet.
        self.peer.rounds();
        if self.speaks {
            // Silence is an answer too.
            let _ = self.peer.log.wait(&text, count, LINE);
        }
    }

    /// The name that the guest gives its lines.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

/// Sends a case's traffic to a proxy and collects what comes of it.
pub(crate) fn run(peer: &Arc<Running>, behind: &Behind, case: &Case) -> Observation {
    let id = format!("c{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let guests = if case.listener == "pair" { vec![".a", ".b"] } else { vec![""] };
    behind.upstream.forget();
    let held = if matches!(case.target, "/chunks" | "/trailers") { CHUNKS.len() } else { 0 };
    let gates: Vec<Gate> = (0..held).map(|_| Gate::new()).collect();
    *behind.gates.lock().unwrap_or_else(PoisonError::into_inner) = gates.clone();
    let address = peer.address(&case.listener);
    let pace = Pace { peer: Arc::clone(peer), id: id.clone(), speaks: config::speaks(&case.listener) };
    let inner = Pace { id: format!("{id}{}", guests.last().copied().unwrap_or_default()), ..pace.clone() };
    let over = AtomicBool::new(false);
    let client = std::thread::scope(|scope| {
        scope.spawn(|| open(&gates, behind, &inner, &over));
        let exchange = || match case.http2 {
            true => http2::exchange(address, case, &pace),
            false => http1::exchange(address, case, &pace),
        };
        let outcome = catch_unwind(AssertUnwindSafe(exchange));
        // Said in any case, or the other thread would wait for ever.
        over.store(true, Ordering::Relaxed);
        outcome.unwrap_or_default()
    });
    match pace.speaks {
        true => guests.iter().for_each(|guest| {
            let _ = peer.log.wait(&format!("tg:{id}{guest}:delete"), 1, END);
        }),
        false => peer.rounds(),
    }
    let _ =
        behind.upstream.reaches(END, |connections| states(connections).all(|state| *state != State::Started));
    let mut upstream: Vec<String> = behind.upstream.requests().iter().map(received).collect();
    upstream.sort();
    let lines = peer.log.having(&format!("tg:{id}")).iter().map(|line| said(line, &id)).collect();
    Observation { client, upstream, lines, crashed: false }
}

/// Lets the upstream go on with its chunks, each when the guest has spoken of the one before.
fn open(gates: &[Gate], behind: &Behind, pace: &Pace, over: &AtomicBool) {
    let answering = begun(&pace.id, "rsh");
    let whole = |connections: &[Connection]| states(connections).any(|state| *state == State::Complete);
    for (nth, gate) in gates.iter().enumerate() {
        let answers = || match pace.speaks {
            true => pace.peer.log.wait(&answering, 1, SILENCE),
            false => behind.upstream.reaches(SILENCE, whole),
        };
        while !answers() && !over.load(Ordering::Relaxed) {}
        pace.wait("rsb", nth + 1);
        gate.open();
    }
}

fn states(connections: &[Connection]) -> impl Iterator<Item = &State> {
    connections.iter().flat_map(|connection| &connection.requests).map(|request| &request.state)
}

/// What the line has that a callback begins with; other lines of it are about what the guest does there.
fn begun(id: &str, callback: &str) -> String {
    let shown = if matches!(callback, "rqh" | "rsh") { "end" } else { "size" };
    format!("tg:{id}:{callback} {shown}=")
}

/// What the guest said in a line of the log, without the number of the case.
fn said(line: &str, id: &str) -> String {
    let text = line.split_once("tg:").map_or("", |(_, text)| text);
    let text = text.split_once(";;").map_or(text, |(text, _)| text);
    text.strip_prefix(id).unwrap_or(text).trim_start_matches(':').to_owned()
}

/// What the upstream answers, by the path.
pub(crate) fn answer(call: &Call<'_>, gates: &[Gate]) -> Answer {
    let (path, _) = call.head.target.split_once('?').unwrap_or((&call.head.target, ""));
    let head = "HTTP/1.1 200 OK\r\nx-t-up: yes\r\ncontent-type: text/plain\r\n";
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
