//! Tests of what guests may write.

use super::*;
use http::{Request, Response};
use tidegate_abi::encode_pairs;

fn request() -> request::Parts {
    let request =
        Request::post("/old").header("host", "old").header("content-length", "3").header("x-a", "1");
    request.body(()).unwrap().into_parts().0
}

fn encoded(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_pairs(|| pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())), &mut out);
    out
}

fn write(head: &mut request::Parts, op: Op, name: &str, value: &str) -> Result<(), Status> {
    let mut scheme = None;
    Target::Request(head, &mut scheme).write(op, name.as_bytes(), value.as_bytes())
}

#[test]
fn pseudo_fields_change_the_head() {
    let mut head = request();
    for (name, value) in
        [(":path", "/new?q"), (":method", "PUT"), (":authority", "new:80"), (":scheme", "https")]
    {
        assert_eq!(write(&mut head, Op::Replace, name, value), Ok(()), "{name}");
    }
    assert_eq!((head.uri.to_string().as_str(), head.method.as_str()), ("/new?q", "PUT"));
    assert_eq!(head.headers["host"], "new:80");
}

#[test]
fn what_would_break_a_message_is_refused() {
    let mut head = request();
    let cases = [
        (":path", "relative"),
        (":path", "/a b"),
        (":path", "/a#b"),
        (":path", "http://h/"),
        (":method", "CONNECT"),
        (":method", "A B"),
        (":authority", "user@h"),
        (":authority", ""),
        (":scheme", "ftp"),
        (":status", "200"),
        (":unknown", "x"),
        ("x y", "1"),
        ("", "1"),
        ("x", "a\r\nb: c"),
        ("x", "a\0"),
    ];
    for (name, value) in cases {
        for op in [Op::Add, Op::Replace] {
            assert_eq!(write(&mut head, op, name, value), Err(Status::BadArgument), "{name}: {value}");
        }
    }
    assert_eq!(write(&mut head, Op::Remove, ":path", ""), Err(Status::BadArgument));
    assert_eq!(write(&mut head, Op::Replace, "x", &"a".repeat(VALUE_BYTES + 1)), Err(Status::BadArgument));
    assert_eq!(head.headers, request().headers);
}

#[test]
fn framing_belongs_to_the_gateway() {
    let mut head = request();
    assert_eq!(write(&mut head, Op::Replace, "content-length", "3"), Ok(()));
    assert_eq!(head.headers["content-length"], "3", "the same length changes nothing");
    assert_eq!(write(&mut head, Op::Replace, "Content-Length", "5"), Ok(()));
    assert!(!head.headers.contains_key("content-length"));
    for name in ["transfer-encoding", "connection", "upgrade", "te", "keep-alive"] {
        assert_eq!(write(&mut head, Op::Add, name, "chunked"), Ok(()), "{name}");
        assert!(!head.headers.contains_key(name), "{name}");
    }
    assert_eq!(write(&mut head, Op::Remove, "host", ""), Ok(()));
    assert_eq!(head.headers["host"], "old");
}

#[test]
fn all_fields_are_replaced_at_once_or_not_at_all() {
    let mut head = request();
    let mut scheme = None;
    let bad = encoded(&[("x-b", "2"), ("bad name", "1")]);
    let mut target = Target::Request(&mut head, &mut scheme);
    assert_eq!(target.write_all(PairsReader::check(&bad).unwrap()), Err(Status::BadArgument));
    let good =
        encoded(&[(":path", "/new"), ("x-b", "2"), ("x-b", "3"), ("content-length", "3"), ("te", "x")]);
    assert_eq!(target.write_all(PairsReader::check(&good).unwrap()), Ok(()));
    assert_eq!(
        (head.uri.path(), head.method.as_str(), &head.headers["host"]),
        ("/new", "POST", &"old".parse().unwrap())
    );
    assert_eq!(head.headers.get_all("x-b").iter().count(), 2);
    assert!(!head.headers.contains_key("x-a") && !head.headers.contains_key("te"));
    assert_eq!(head.headers["content-length"], "3");
}

#[test]
fn a_status_is_a_final_one() {
    let mut head = Response::new(()).into_parts().0;
    let mut target = Target::Response(&mut head);
    for bad in ["100", "101", "99", "1000", "abc", ""] {
        assert_eq!(target.write(Op::Replace, b":status", bad.as_bytes()), Err(Status::BadArgument), "{bad}");
    }
    assert_eq!(target.write(Op::Replace, b":status", b"418"), Ok(()));
    assert_eq!(head.status, 418);
}

#[test]
fn a_new_request_needs_path_method_and_authority() {
    let all = [(":path", "/p"), (":method", "GET"), (":authority", "a"), ("x", "1"), ("content-length", "9")];
    let good = encoded(&all);
    let head = new_request(PairsReader::check(&good).unwrap()).unwrap();
    assert_eq!((head.uri.path(), head.headers.len()), ("/p", 2));
    for missing in 0..3 {
        let mut some = all.to_vec();
        some.remove(missing);
        let some = encoded(&some);
        assert_eq!(new_request(PairsReader::check(&some).unwrap()).unwrap_err(), Status::BadArgument);
    }
}
