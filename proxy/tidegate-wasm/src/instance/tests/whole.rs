//! Answers whose body is all here: the same comes of them as when head and body are shown one by one.

use super::*;
use crate::{Meter, Whole};

/// What a guest does with the head and the body of an answer, in their callbacks.
const GUESTS: [(&str, &str, &str); 10] = [
    ("lets go", "(i32.const 0)", "(i32.const 0)"),
    (
        "changes the head",
        "(drop (call $add (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 1) (i32.const 1))) (i32.const 0)",
        "(i32.const 0)",
    ),
    (
        "changes the body",
        "(i32.const 0)",
        "(drop (call $set_buffer (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 0) (i32.const 3))) (i32.const 0)",
    ),
    ("speaks in the head", "(call $say (i32.const 7)) (i32.const 0)", "(i32.const 0)"),
    ("speaks in the body", "(i32.const 0)", "(call $say (local.get 1)) (i32.const 0)"),
    (
        "reads the head with the body",
        "(i32.const 0)",
        "(drop (call $get (i32.const 2) (i32.const 8) (i32.const 7) (i32.const 2048) (i32.const 2052))) (call $tell) (i32.const 0)",
    ),
    ("holds the head", "(i32.const 1)", "(i32.const 0)"),
    ("holds the body", "(i32.const 0)", "(i32.const 1)"),
    (
        "answers in the head",
        "(drop (call $reply (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1))) (i32.const 1)",
        "(i32.const 0)",
    ),
    (
        "makes trailers",
        "(i32.const 0)",
        "(drop (call $add (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 1) (i32.const 1))) (i32.const 0)",
    ),
];

/// One with callbacks that follow each other in one call, see [`crate::abi::chain`].
fn chained(head: &str, body: &str) -> Instance {
    let instance = guest_with(r#"(func (export "proxy_on_context_create") (param i32 i32))"#, head, body);
    assert!(instance.chain.is_some());
    instance
}

fn guest(head: &str, body: &str) -> Instance {
    let instance = guest_with("", head, body);
    assert!(instance.chain.is_none());
    instance
}

fn guest_with(create: &str, head: &str, body: &str) -> Instance {
    start(&format!(
        r#"(data (i32.const 0) "abc") (data (i32.const 8) ":status") {create}
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) {head})
        (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) {body})
        (func (export "proxy_on_log") (param i32))
        (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
        (func (export "proxy_on_delete") (param i32))"#
    ))
}

/// What has come of an answer: the steps, what goes on of it, and what the guest wished for.
#[derive(Debug, PartialEq)]
struct Came {
    head: Option<Step>,
    fields: Vec<(String, String)>,
    body: Option<Step>,
    left: Bytes,
    trailers: usize,
    wishes: Vec<String>,
}

fn opened(instance: &mut Instance) -> StreamId {
    let id = open(instance);
    assert_eq!(instance.on_request_headers(id, post(), true, NOW).unwrap(), Step::Continue);
    assert!(instance.take_request_head(id).is_some());
    id
}

fn fields(head: Option<&response::Parts>) -> Vec<(String, String)> {
    let of = |head: &response::Parts| {
        let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        head.headers.iter().map(text).collect()
    };
    head.map(of).unwrap_or_default()
}

/// All that the guest wished for, lines as well.
fn asked(instance: &mut Instance) -> Vec<String> {
    std::iter::from_fn(|| instance.poll_effect()).map(|effect| format!("{effect:?}")).collect()
}

const BODY: Bytes = Bytes::from_static(b"body");

fn one_by_one(instance: &mut Instance, id: StreamId) -> Came {
    let head = instance.on_response_headers(id, ok(), false, NOW).unwrap();
    let mut came = Came { head: Some(head), ..nothing() };
    if head == Step::Continue {
        let taken = instance.take_response_head(id);
        came.fields = fields(taken.as_ref());
        came.body = Some(instance.on_response_body(id, BODY, true, NOW).unwrap());
    }
    rest(instance, id, came)
}

fn at_once(instance: &mut Instance, id: StreamId) -> Came {
    let (mut head, mut body) = (Some(ok()), BODY);
    let came = match instance.on_whole_response(id, &mut head, &mut body, NOW).unwrap() {
        Whole::Passed => {
            assert!(!instance.has_effects());
            Came { fields: fields(head.as_ref()), left: body, ..passed() }
        }
        Whole::Head(Step::Continue) => {
            let taken = instance.take_response_head(id);
            let step = instance.on_response_body(id, body, true, NOW).unwrap();
            Came { body: Some(step), fields: fields(taken.as_ref()), ..passed() }
        }
        Whole::Head(step) => {
            assert_eq!(body, BODY);
            Came { head: Some(step), ..nothing() }
        }
        Whole::Body(step) => Came { fields: fields(head.as_ref()), body: Some(step), ..passed() },
    };
    rest(instance, id, came)
}

fn nothing() -> Came {
    Came { head: None, fields: vec![], body: None, left: Bytes::new(), trailers: 0, wishes: vec![] }
}

fn passed() -> Came {
    Came { head: Some(Step::Continue), body: Some(Step::Continue), ..nothing() }
}

fn rest(instance: &mut Instance, id: StreamId, mut came: Came) -> Came {
    came.wishes = asked(instance);
    if came.left.is_empty() && came.body == Some(Step::Continue) {
        came.left = instance.take_response_body(id);
        came.trailers = instance.take_response_trailers(id).map_or(0, |trailers| trailers.len());
    }
    instance.close_stream(id, NOW);
    came
}

#[test]
fn the_same_comes_of_an_answer_at_once_and_one_by_one() {
    for (does, head, body) in GUESTS {
        let (mut steps, mut whole, mut chain) = (guest(head, body), guest(head, body), chained(head, body));
        for _ in 0..3 {
            let one = opened(&mut steps);
            let came = one_by_one(&mut steps, one);
            for instance in [&mut whole, &mut chain] {
                let id = opened(instance);
                assert_eq!(at_once(instance, id), came, "a guest that {does}");
            }
        }
        for instance in [&whole, &chain] {
            assert_eq!((instance.streams(), instance.has_effects()), (0, false), "a guest that {does}");
        }
    }
}

#[test]
fn an_answer_that_passes_goes_on_as_the_guest_made_it() {
    let [_, (_, head, _), (_, _, body), ..] = GUESTS;
    for mut instance in [guest(head, body), chained(head, body)] {
        let id = opened(&mut instance);
        let (mut head, mut body) = (Some(ok()), BODY);
        assert_eq!(instance.on_whole_response(id, &mut head, &mut body, NOW).unwrap(), Whole::Passed);
        assert_eq!((&head.unwrap().headers["a"], &body[..]), (&"b".parse().unwrap(), &b"abcdy"[..]));
    }
}

#[test]
fn a_guest_that_breaks_off_fails_in_either_callback() {
    for (head, body) in [("unreachable", "(i32.const 0)"), ("(i32.const 0)", "unreachable")] {
        for mut instance in [guest(head, body), chained(head, body)] {
            let id = opened(&mut instance);
            assert!(instance.on_whole_response(id, &mut Some(ok()), &mut BODY.clone(), NOW).is_err());
            assert!(instance.poisoned().is_some());
            instance.close_stream(id, NOW);
        }
    }
}

#[test]
fn each_callback_counts_as_a_call() {
    let meter = |mut instance: Instance, whole: bool| {
        let meter = Arc::new(Meter::new(|| Duration::ZERO));
        instance.measure(meter.clone());
        for _ in 0..crate::TIMED * 2 {
            let id = opened(&mut instance);
            if whole {
                at_once(&mut instance, id)
            } else {
                one_by_one(&mut instance, id)
            };
        }
        let mut seen = crate::Seen::default();
        meter.read(&mut seen);
        (seen.calls, seen.guest.buckets().last().map(|(_, count)| count))
    };
    // Request head, response head, body, log, done, forgotten.
    let [(_, head, body), ..] = GUESTS;
    assert_eq!(meter(guest(head, body), false), (crate::TIMED * 2 * 6, Some(12)));
    assert_eq!(meter(guest(head, body), true), meter(guest(head, body), false));
    // The callback in which a request is told of counts as well.
    assert_eq!(meter(chained(head, body), true), (crate::TIMED * 2 * 7, Some(14)));
    let [.., (_, stops, _), _] = GUESTS;
    assert_eq!(meter(chained(stops, body), true), meter(chained(stops, body), false), "it stops the chain");
}

#[test]
fn a_stream_that_the_guest_has_not_seen_is_announced_first() {
    let mut instance = start(
        r#"(func (export "proxy_on_context_create") (param i32 i32) (call $say (i32.const 1)))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (call $say (i32.const 2)) (i32.const 0))
        (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (call $say (i32.const 3)) (i32.const 0))"#,
    );
    lines(&mut instance);
    let id = open(&mut instance);
    let (mut head, mut body) = (Some(ok()), BODY);
    let step = instance.on_whole_response(id, &mut head, &mut body, NOW).unwrap();
    assert_eq!((step, head.is_none(), body), (Whole::Head(Step::Continue), true, BODY));
    assert_eq!(lines(&mut instance), ["001", "002"]);
}

/// What a guest does silently is seen by nobody, so it writes down what it was called with, and shows it in the log.
#[test]
fn a_silent_guest_is_called_with_what_there_is() {
    let wasm = wasm(
        r#"(func $note (param i32 i32 i32)
            (local.set 2 (i32.add (i32.mul (local.get 1) (i32.const 10)) (local.get 2)))
            (i32.store (i32.const 1024) (i32.add (i32.mul (i32.load (i32.const 1024)) (i32.const 1000)) (local.get 2))))
        (func (export "proxy_on_context_create") (param i32 i32))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
            (call $note (local.get 0) (local.get 1) (local.get 2)) (i32.const 0))
        (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
            (call $note (local.get 0) (local.get 1) (local.get 2)) (i32.const 0))
        (func (export "proxy_on_log") (param i32)
            (call $say (i32.div_u (i32.load (i32.const 1024)) (i32.const 1000)))
            (call $say (i32.rem_u (i32.load (i32.const 1024)) (i32.const 1000)))
            (drop (call $get (i32.const 2) (i32.const 8) (i32.const 7) (i32.const 2048) (i32.const 2052))) (call $tell))
        (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
        (func (export "proxy_on_delete") (param i32))
        (data (i32.const 8) ":status")"#,
    );
    let mut instance = Instance::start(&plugin_of(&engine(), &wasm, &Arc::new(Shared::new())), NOW).unwrap();
    let id = opened(&mut instance);
    let (mut head, mut body) = (Some(ok()), BODY);
    let count = ok().headers.len() + 1;
    assert_eq!(instance.on_whole_response(id, &mut head, &mut body, NOW).unwrap(), Whole::Passed);
    assert_eq!((head.is_some(), body), (true, BODY));
    assert_eq!(instance.store.data().stream().map(|stream| stream.response.received), Some(4));
    instance.close_stream(id, NOW);
    // So many fields and no end; four bytes and the end; the head is readable to the last.
    assert_eq!(lines(&mut instance), [format!("{:03}", count * 10), "041".into(), "200".into()]);
}

/// Each of the two callbacks has the time of a call.
#[test]
fn a_body_that_never_ends_is_cut_off_in_a_chain_too() {
    let mut instance = chained("(i32.const 0)", "(loop $forever (br $forever)) (i32.const 0)");
    let id = opened(&mut instance);
    let engine = instance.plugin().engine().clone();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                engine.tick();
                std::thread::park_timeout(Duration::from_micros(200));
            }
        });
        let trap = instance.on_whole_response(id, &mut Some(ok()), &mut BODY.clone(), NOW).unwrap_err();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(matches!(trap, crate::Trap::CallTime { .. }), "{trap:?}");
    });
}
