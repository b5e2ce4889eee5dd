//! Connections, on both sides, are closed and not forgotten. Alone in its process, so that descriptors can be counted.

use tidegate_testkit::{Answer, Frame, Frames, RawClient, Step};
use tidegate_wire::Lab;

const CLIENTS: usize = 80;

/// One answer of each kind, and clients that leave before theirs.
fn round(lab: &Lab) {
    let targets = ["/ok", "/stall", "/reset", "/cut"];
    let mut clients: Vec<RawClient> = (0..CLIENTS).map(|_| lab.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET {} HTTP/1.1\r\nhost: a.test\r\n\r\n", targets[number % 4]));
    }
    for (_, client) in clients.iter_mut().enumerate().filter(|(number, _)| number % 4 != 1) {
        client.response("GET").ok();
    }
    let mut frames = Frames::connect(lab.gateway.address("web"), &[]);
    for (stream, target) in (1..).step_by(2).zip(targets) {
        let head = [(":method", "GET"), (":scheme", "http"), (":path", target), (":authority", "a.test")];
        frames.send(&Frame::headers(stream, &head, true));
    }
    frames.fate(1);
    lab.upstream.wait("all requests", |c| {
        c.iter().flat_map(|c| &c.requests).filter(|r| r.target() == "/stall").count() == CLIENTS / 4 + 1
    });
    drop((clients, frames));
    lab.gateway
        .wait("clients to be let go", |gateway| gateway.metric("tidegate_connections_open", "") == 0.0);
    lab.collect();
}

#[test]
fn nothing_leaks() {
    let lab = Lab::scripted(|call| match call.head.target.as_str() {
        "/stall" => Answer::steps([Step::UntilClosed]),
        "/reset" => Answer::steps([Step::ReadBody, Step::Reset]),
        "/cut" => Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc").then(Step::Close),
        target => {
            Answer::reply(format!("HTTP/1.1 200 OK\r\nx-target: {target}\r\ncontent-length: 2\r\n\r\nok"))
        }
    });
    let descriptors = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let mut before = 0;
    for number in 0..4 {
        round(&lab);
        // What the pool keeps are connections that answered in order.
        lab.upstream.wait("the others to end", |all| {
            all.iter().filter(|connection| !connection.finished).count() <= CLIENTS / 4 + 2
        });
        if number == 0 {
            before = descriptors();
        }
    }
    // The scripted upstream has two descriptors for a connection, the gateway one; the pool may vary a little.
    lab.gateway.wait("descriptors to be closed", |_| descriptors() < before + CLIENTS / 2);
}
