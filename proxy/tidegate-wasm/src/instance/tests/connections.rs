//! Connections of bytes: both sides, pauses, closes, the end.

use super::*;
use crate::{Peer, Trap};

/// Logs each callback with what it gets, as numbers; what it does with bytes is given.
fn guest(open: &str, down: &str, up: &str) -> Instance {
    start(&format!(
        r#"(data (i32.const 0) "new!") (data (i32.const 100) "source.addressupstream.address")
        (data (i32.const 300) "source\00address") (data (i32.const 320) "upstream\00address")
        (data (i32.const 340) "connection\00id") (data (i32.const 360) "request\00path")
        (func (export "proxy_on_context_create") (param i32 i32) (call $say (i32.const 100)))
        (func (export "proxy_on_new_connection") (param $id i32) (result i32)
            (global.set $saved (local.get $id)) (call $say (i32.const 101)) {open})
        (func (export "proxy_on_downstream_data") (param $id i32) (param $size i32) (param $end i32) (result i32)
            (call $say (i32.const 102)) (call $say (local.get $size)) (call $say (local.get $end)) {down})
        (func (export "proxy_on_upstream_data") (param $id i32) (param $size i32) (param $end i32) (result i32)
            (call $say (i32.const 103)) (call $say (local.get $size)) (call $say (local.get $end)) {up})
        (func (export "proxy_on_downstream_connection_close") (param i32) (param $by i32)
            (call $say (i32.const 104)) (call $say (local.get $by)))
        (func (export "proxy_on_upstream_connection_close") (param i32) (param $by i32)
            (call $say (i32.const 105)) (call $say (local.get $by)))
        (func (export "proxy_on_tick") (param i32)
            (call $say (call $effective (global.get $saved)))
            (call $say (call $continue (i32.const 2)))
            (drop (call $tick (i32.const 0))))
        (func (export "proxy_on_done") (param i32) (result i32) (call $say (i32.const 106)) (i32.const 1))
        (func (export "proxy_on_log") (param i32) (call $say (i32.const 107)))
        (func (export "proxy_on_delete") (param i32) (call $say (i32.const 108)))"#
    ))
}

const GO: &str = "(i32.const 0)";
const HOLD: &str = "(i32.const 1)";

fn connect(instance: &mut Instance) -> StreamId {
    instance.open_connection(info(), NOW)
}

fn chunk(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn callbacks_come_in_wire_order() {
    let mut instance = guest(GO, GO, GO);
    let id = connect(&mut instance);
    assert_eq!(instance.on_new_connection(id, NOW).unwrap(), Step::Continue);
    assert_eq!(instance.on_downstream_data(id, chunk("abc"), false, NOW).unwrap(), Step::Continue);
    assert_eq!(&instance.take_data(id, Side::Request)[..], b"abc");
    assert_eq!(instance.on_upstream_data(id, chunk("de"), true, NOW).unwrap(), Step::Continue);
    assert_eq!(&instance.take_data(id, Side::Response)[..], b"de");
    instance.on_upstream_close(id, Peer::Unknown, NOW).unwrap();
    instance.on_downstream_close(id, Peer::Remote, NOW).unwrap();
    instance.close_stream(id, NOW);
    let want = [
        "100", "101", "102", "003", "000", "103", "002", "001", "105", "000", "104", "002", "106", "107",
        "108",
    ];
    // The first line is the plugin's own context.
    assert_eq!(lines(&mut instance)[1..], want);
    assert_eq!(instance.streams(), 0);
}

#[test]
fn held_bytes_are_seen_as_a_whole_and_can_be_written() {
    let write = "(if (i32.lt_u (local.get $size) (i32.const 4)) (then (return (i32.const 1))))
        (call $say (call $buffer (i32.const 2) (i32.const 1) (i32.const 2) (i32.const 2048) (i32.const 2052))) (call $tell)
        (call $say (call $set_buffer (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 4)))
        (call $say (call $set_buffer (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 4)))
        (call $say (call $set_buffer (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 4)))
        (i32.const 0)";
    let mut instance = guest(GO, write, HOLD);
    let id = connect(&mut instance);
    instance.on_new_connection(id, NOW).unwrap();
    lines(&mut instance);
    assert_eq!(instance.on_downstream_data(id, chunk("ab"), false, NOW).unwrap(), Step::Pause);
    assert_eq!(instance.on_downstream_data(id, chunk("cd"), true, NOW).unwrap(), Step::Continue);
    // The other side has no bytes now, and a connection has no body.
    let want = ["102", "002", "000", "102", "004", "001", "000", "bc", "000", "001", "001"];
    assert_eq!(lines(&mut instance), want);
    assert_eq!(&instance.take_data(id, Side::Request)[..], b"new!bcd");
    assert_eq!(instance.on_upstream_data(id, chunk("xy"), false, NOW).unwrap(), Step::Pause);
    assert_eq!(instance.buffered_data(id, Side::Response), 2);
}

#[test]
fn a_connection_may_wait_for_its_first_bytes() {
    let mut instance = guest(HOLD, GO, GO);
    let id = connect(&mut instance);
    assert_eq!(instance.on_new_connection(id, NOW).unwrap(), Step::Pause);
    assert_eq!(instance.on_downstream_data(id, chunk("a"), false, NOW).unwrap(), Step::Continue);
}

#[test]
fn a_connection_may_wait_for_something_else() {
    let mut instance = guest("(drop (call $tick (i32.const 9))) (i32.const 1)", HOLD, GO);
    let id = connect(&mut instance);
    assert_eq!(instance.on_new_connection(id, NOW).unwrap(), Step::Wait);
    // Its callback for bytes might let the connection pass before its time.
    assert_eq!(instance.on_downstream_data(id, chunk("a"), false, NOW).unwrap(), Step::Wait);
    assert_eq!(lines(&mut instance)[2..], ["101"]);
    instance.on_tick(NOW).unwrap();
    let effects: Vec<_> = std::iter::from_fn(|| instance.poll_effect()).collect();
    let resumed =
        |effect: &Effect| matches!(effect, Effect::Resume { side: Side::Request, stream } if *stream == id);
    assert!(effects.iter().any(resumed), "{effects:?}");
    assert_eq!(&instance.take_data(id, Side::Request)[..], b"a");
}

#[test]
fn streams_of_both_kinds_are_continued_and_closed_by_their_own_names() {
    let calls = "(call $say (call $continue (i32.const 0))) (call $say (call $continue (i32.const 1)))
        (call $say (call $continue (i32.const 2))) (call $say (call $continue (i32.const 3)))
        (call $say (call $continue (i32.const 4)))
        (call $say (call $close (i32.const 0))) (call $say (call $close (i32.const 4)))
        (call $say (call $reply (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const -1)))
        (call $say (call $get (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 2048) (i32.const 2052)))
        (call $say (call $add (i32.const 1) (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 3)))
        (i32.const 1)";
    let mut instance = guest(GO, calls, "(drop (call $close (i32.const 3))) (i32.const 0)");
    let id = connect(&mut instance);
    instance.on_new_connection(id, NOW).unwrap();
    lines(&mut instance);
    assert_eq!(instance.on_downstream_data(id, chunk("a"), true, NOW).unwrap(), Step::Pause);
    let effects: Vec<_> = std::iter::from_fn(|| instance.poll_effect()).collect();
    let said: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Log { message, .. } => Some(message.as_str()),
            _ => None,
        })
        .collect();
    // Resuming the server's side is not implemented by hosts in the field; guests are written against that.
    assert_eq!(said[3..], ["000", "000", "000", "012", "002", "000", "002", "000", "002", "002"]);
    let others: Vec<_> = effects.iter().filter(|effect| !matches!(effect, Effect::Log { .. })).collect();
    assert!(matches!(others[..], [Effect::Resume { side: Side::Request, .. }]), "{others:?}");
    // Both ways of closing end the whole connection.
    assert_eq!(instance.on_upstream_data(id, chunk("a"), false, NOW).unwrap(), Step::Wait);
    assert_eq!(wishes(&mut instance), ["reset"]);
    assert_eq!(instance.on_upstream_data(id, chunk("b"), false, NOW).unwrap(), Step::Wait);
    assert_eq!(lines(&mut instance), [""; 0], "nothing more is shown");
}

#[test]
fn properties_tell_of_the_connection() {
    let tell = |at: u32, size: u32| {
        format!(
            "(call $say (call $property (i32.const {at}) (i32.const {size}) (i32.const 2048) (i32.const 2052)))"
        )
    };
    let open = format!(
        "{} (call $tell) {} {} {} (i32.const 0)",
        tell(300, 14),
        tell(320, 16),
        tell(340, 13),
        tell(360, 12)
    );
    let mut instance = guest(&open, &format!("{} (call $tell) (i32.const 0)", tell(320, 16)), GO);
    let id = connect(&mut instance);
    instance.on_new_connection(id, NOW).unwrap();
    assert_eq!(lines(&mut instance)[3..], ["000", "10.0.0.1:4000", "001", "000", "001"]);
    instance.set_server(id, "db".into(), ([10, 0, 0, 9], 5432).into());
    instance.on_downstream_data(id, chunk("a"), false, NOW).unwrap();
    assert_eq!(lines(&mut instance)[3..], ["000", "10.0.0.9:5432"]);
}

#[test]
fn a_connection_may_use_much_time_but_no_call_may() {
    let mut instance = guest(GO, "(if (local.get $end) (then (loop (br 0)))) (i32.const 0)", GO);
    let engine = instance.plugin().engine.clone();
    let id = connect(&mut instance);
    instance.on_new_connection(id, NOW).unwrap();
    for _ in 0..300 {
        instance.on_downstream_data(id, chunk("a"), false, NOW).unwrap();
        // Far more than one request may take, all calls together.
        instance.store.data_mut().streams.get_mut(id.0).unwrap().spent += 10;
        instance.take_data(id, Side::Request);
        lines(&mut instance);
    }
    let done = std::sync::atomic::AtomicBool::new(false);
    let trap = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                engine.tick();
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        let trap = instance.on_downstream_data(id, chunk("rest"), true, NOW).unwrap_err();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        trap
    });
    assert!(matches!(trap, Trap::CallTime { .. }), "{trap}");
    assert_eq!(&instance.take_data(id, Side::Request)[..], b"rest", "what is held can still be taken");
    assert!(instance.on_downstream_close(id, Peer::Local, NOW).is_err());
    instance.close_stream(id, NOW);
    assert_eq!(instance.streams(), 0);
}

#[test]
fn a_guest_without_callbacks_lets_everything_pass() {
    let mut instance = start("");
    let id = connect(&mut instance);
    assert_eq!(instance.on_new_connection(id, NOW).unwrap(), Step::Continue);
    assert_eq!(instance.on_upstream_data(id, chunk("a"), true, NOW).unwrap(), Step::Continue);
    assert_eq!(&instance.take_data(id, Side::Response)[..], b"a");
    instance.on_downstream_close(id, Peer::Local, NOW).unwrap();
    assert!(!instance.plugin().serves_connections() && !instance.plugin().serves_requests());
    assert!(guest(GO, GO, GO).plugin().serves_connections());
}
