//! Fields that are put into a request's head only for a guest that looks at it.

use super::*;
use crate::{AddFields, Pending};
use http::HeaderMap;

struct Adds;

impl AddFields for Adds {
    fn add(&self, headers: &mut HeaderMap, request_id: &[u8; 32]) {
        headers.insert("x-from", "10.0.0.1".parse().unwrap());
        headers.insert("x-request-id", http::HeaderValue::from_bytes(request_id).unwrap());
    }

    fn adds(&self, name: &[u8]) -> bool {
        [&b"x-from"[..], b"x-request-id"].iter().any(|known| name.eq_ignore_ascii_case(known))
    }
}

/// Shows a head with two fields to come; whether they still were to come when it was left.
fn pass(instance: &mut Instance, id: StreamId) -> bool {
    let pending = Pending { by: Rc::new(Adds), request_id: [b'7'; 32], fields: 2 };
    instance.on_request_head(id, Rc::new(get()), Some(pending), true, NOW).unwrap();
    let left = instance.leave_request_head(id, |_| Ok::<_, ()>(())).unwrap().unwrap();
    assert_eq!(left.head.headers.contains_key("x-from"), !left.pending);
    left.pending
}

/// Says the number of fields it is told of, then looks in a way.
fn guest(look: &str) -> Instance {
    start(&format!(
        r#"(data (i32.const 0) "x-from:pathrequest\00headers\00x-fromHost")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (local.get 1)) {look} (i32.const 0))
        (func (export "proxy_on_log") (param i32)
            (drop (call $get (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 2048) (i32.const 2052)))
            (call $tell))"#
    ))
}

#[test]
fn a_guest_that_does_not_look_leaves_them_out_and_may_look_later() {
    for look in [
        "",
        "(drop (call $property (i32.const 11) (i32.const 7) (i32.const 2048) (i32.const 2052)))",
        // Other fields of it, and one of the response, which is not there.
        "(drop (call $add (i32.const 0) (i32.const 7) (i32.const 4) (i32.const 0) (i32.const 6)))",
        "(drop (call $remove (i32.const 0) (i32.const 7) (i32.const 4)))",
        "(drop (call $get (i32.const 0) (i32.const 6) (i32.const 5) (i32.const 2048) (i32.const 2052)))",
        "(drop (call $add (i32.const 2) (i32.const 0) (i32.const 6) (i32.const 7) (i32.const 4)))",
    ] {
        let mut instance = guest(look);
        let id = open(&mut instance);
        assert!(pass(&mut instance, id), "{look}");
        let count = (get().headers.len() + 3 + 2).to_string();
        assert_eq!(lines(&mut instance), [format!("{count:0>3}")], "they are counted");
        instance.close_stream(id, NOW);
        assert_eq!(lines(&mut instance), ["10.0.0.1"]);
    }
}

#[test]
fn every_way_of_looking_finds_them() {
    for look in [
        "(drop (call $get (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 2048) (i32.const 2052)))",
        "(drop (call $pairs (i32.const 0) (i32.const 2048) (i32.const 2052)))",
        "(drop (call $add (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 7) (i32.const 4)))",
        // What they are made from.
        "(drop (call $add (i32.const 0) (i32.const 33) (i32.const 4) (i32.const 7) (i32.const 4)))",
        "(drop (call $property (i32.const 11) (i32.const 22) (i32.const 2048) (i32.const 2052)))",
    ] {
        let mut instance = guest(look);
        let id = open(&mut instance);
        assert!(!pass(&mut instance, id), "{look}");
        lines(&mut instance);
        instance.close_stream(id, NOW);
        assert_eq!(lines(&mut instance), ["10.0.0.1"], "{look}");
    }
}

#[test]
fn a_line_of_the_log_bears_the_request_id_whether_or_not_it_is_written() {
    let mut instance = guest("");
    let id = open(&mut instance);
    pass(&mut instance, id);
    let ids = std::iter::from_fn(|| instance.poll_effect()).filter_map(|effect| match effect {
        Effect::Log { request_id, .. } => request_id,
        _ => None,
    });
    assert_eq!(ids.collect::<Vec<_>>(), ["7".repeat(32)]);
}

#[test]
fn a_head_that_others_hold_is_not_changed() {
    let mut instance = guest("(drop (call $remove (i32.const 0) (i32.const 0) (i32.const 6)))");
    let id = open(&mut instance);
    let head = Rc::new(get());
    let pending = Pending { by: Rc::new(Adds), request_id: [b'7'; 32], fields: 2 };
    instance.on_request_head(id, head.clone(), Some(pending), true, NOW).unwrap();
    let left = instance.leave_request_head(id, |_| Ok::<_, ()>(())).unwrap().unwrap();
    assert!(left.changed && left.head.headers.contains_key("x-request-id"));
    assert_eq!(head.headers, get().headers);
}
