//! Message framing of HTTP/1: what separates one request from the next.

use tidegate_wire::{Case, Expect, Lab, run};

const REFUSED: Expect = Expect::Refused(&[400]);
const REFUSED_CODING: Expect = Expect::Refused(&[400, 501]);
const EITHER: Expect = Expect::Either { target: "/case" };

/// A POST whose fields follow `host`, then the bytes after the head.
fn post(fields: &str, rest: &str) -> Vec<u8> {
    latin1(&format!("POST /case HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n\r\n{rest}"))
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).expect("cases are Latin-1")).collect()
}

/// Bytes that are a request of their own if the framing before them is misread.
const HIDDEN: &str = "GET /admin/x HTTP/1.1\r\nhost: a.test\r\n\r\n";

const fn forwarded(body: &'static str) -> Expect {
    Expect::Forwarded { target: "/case", body }
}

/// RFC 9112 section 6.3 would let a gateway take the coding and drop the length; refusing is the safer way that it names.
#[test]
fn length_and_coding_together() {
    let chunks = format!("0\r\n\r\n{HIDDEN}");
    let length = chunks.len();
    let cases = [
        ("length first", format!("content-length: {length}\r\ntransfer-encoding: chunked"), REFUSED),
        ("coding first", format!("transfer-encoding: chunked\r\ncontent-length: {length}"), REFUSED),
        ("length 0", "content-length: 0\r\ntransfer-encoding: chunked".to_owned(), REFUSED),
        (
            "coding between lengths",
            "content-length: 5\r\ntransfer-encoding: chunked\r\ncontent-length: 5".to_owned(),
            REFUSED,
        ),
        ("unequal case", format!("Content-LENGTH: {length}\r\nTRANSFER-encoding: Chunked"), REFUSED),
        ("bad length", "content-length: +5\r\ntransfer-encoding: chunked".to_owned(), REFUSED),
        ("identity", format!("content-length: {length}\r\ntransfer-encoding: identity"), REFUSED_CODING),
        (
            "unknown coding",
            format!("content-length: {length}\r\ntransfer-encoding: xchunked"),
            REFUSED_CODING,
        ),
    ];
    let cases: Vec<_> = cases
        .into_iter()
        .map(|(name, fields, expect)| Case::new(name, post(&fields, &chunks), expect))
        .collect();
    run(&Lab::new(), &cases);
}

#[test]
fn transfer_codings() {
    let chunked = "3\r\nabc\r\n0\r\n\r\n";
    let values: &[(&'static str, &str, Expect)] = &[
        ("plain", "chunked", forwarded("abc")),
        ("upper case", "CHUNKED", forwarded("abc")),
        ("space around", " \t chunked \t ", forwarded("abc")),
        ("identity", "identity", REFUSED_CODING),
        ("gzip and chunked", "gzip, chunked", REFUSED_CODING),
        ("chunked not last", "chunked, identity", REFUSED_CODING),
        ("chunked twice", "chunked, chunked", REFUSED_CODING),
        ("prefix", "chunk", REFUSED_CODING),
        ("suffix", "chunkedx", REFUSED_CODING),
        ("other", "xchunked", REFUSED_CODING),
        ("parameter", "chunked;q=1", REFUSED_CODING),
        ("quoted", "\"chunked\"", REFUSED_CODING),
        ("empty", "", REFUSED_CODING),
        ("empty element before", ",chunked", REFUSED_CODING),
        ("empty element after", "chunked,", REFUSED_CODING),
        ("vertical tab before", "\u{b}chunked", REFUSED_CODING),
        ("vertical tab after", "chunked\u{b}", REFUSED_CODING),
        ("NUL after", "chunked\0", REFUSED_CODING),
        ("no-break space before", "\u{a0}chunked", REFUSED_CODING),
        ("next line after", "chunked\u{85}", REFUSED_CODING),
        ("bare CR before", "\rchunked", REFUSED_CODING),
        ("bare CR inside", "chun\rked", REFUSED_CODING),
        ("two words", "chunked chunked", REFUSED_CODING),
    ];
    let mut cases: Vec<_> = values
        .iter()
        .map(|(name, value, expect)| {
            Case::new(name, post(&format!("transfer-encoding: {value}"), chunked), expect.clone())
        })
        .collect();
    let twice =
        |a: &str, b: &str| post(&format!("transfer-encoding: {a}\r\ntransfer-encoding: {b}"), chunked);
    cases.push(Case::new("two fields, chunked twice", twice("chunked", "chunked"), REFUSED_CODING));
    cases.push(Case::new("two fields, identity last", twice("chunked", "identity"), REFUSED_CODING));
    cases.push(Case::new("two fields, identity first", twice("identity", "chunked"), REFUSED_CODING));
    cases.push(Case::new("two fields, empty last", twice("chunked", ""), REFUSED_CODING));
    run(&Lab::new(), &cases);
}

/// The name of the coding field is disguised, beside a length that is right if the field is not seen.
#[test]
fn disguised_coding_fields() {
    let body = format!("0\r\n\r\n{HIDDEN}");
    let length = body.len();
    let names: &[(&'static str, &str, Expect)] = &[
        ("space before the colon", "transfer-encoding : chunked", REFUSED),
        ("tab before the colon", "transfer-encoding\t: chunked", REFUSED),
        ("folded value", "transfer-encoding:\r\n chunked", REFUSED),
        ("folded away", "x: y\r\n transfer-encoding: chunked", REFUSED),
        ("after a bare CR", "x: y\rtransfer-encoding: chunked", REFUSED),
        ("after a bare LF", "x: y\ntransfer-encoding: chunked", REFUSED),
        ("LF before the value", "transfer-encoding:\n chunked", REFUSED),
        ("NUL in the name", "transfer-encoding\0: chunked", REFUSED),
        ("CR in the name", "transfer-\rencoding: chunked", REFUSED),
        ("space in the name", "transfer encoding: chunked", REFUSED),
        ("underscore", "transfer_encoding: chunked", EITHER),
        ("no colon", "transfer-encoding chunked", REFUSED),
        ("empty name before", ": x\r\ntransfer-encoding: chunked", REFUSED),
        ("byte above ASCII", "transfer-encoding\u{ff}: chunked", REFUSED),
        ("quoted name", "\"transfer-encoding\": chunked", REFUSED),
    ];
    let cases: Vec<_> = names
        .iter()
        .map(|(name, field, expect)| {
            Case::new(name, post(&format!("content-length: {length}\r\n{field}"), &body), expect.clone())
        })
        .collect();
    run(&Lab::new(), &cases);
}

const CONTENT_LENGTHS: &[(&str, &str, Expect)] = &[
    ("plain", "content-length: 3", forwarded("abc")),
    ("space around", "content-length: \t3 \t", forwarded("abc")),
    ("leading zeros", "content-length: 003", EITHER),
    ("plus", "content-length: +3", REFUSED),
    ("minus", "content-length: -3", REFUSED),
    ("minus zero", "content-length: -0", REFUSED),
    ("hexadecimal", "content-length: 0x3", REFUSED),
    ("exponent", "content-length: 3e0", REFUSED),
    ("point", "content-length: 3.0", REFUSED),
    ("empty", "content-length:", REFUSED),
    ("blank", "content-length:  ", REFUSED),
    ("parameter", "content-length: 3;", REFUSED),
    ("inner space", "content-length: 0 3", REFUSED),
    ("underscore in the number", "content-length: 0_3", REFUSED),
    ("quoted", "content-length: \"3\"", REFUSED),
    ("vertical tab", "content-length: \u{b}3", REFUSED),
    ("NUL", "content-length: 3\0", REFUSED),
    ("list of equal values", "content-length: 3, 3", EITHER),
    ("list of unequal values", "content-length: 3, 4", REFUSED),
    ("list with an empty element", "content-length: 3,", REFUSED),
    ("equal fields", "content-length: 3\r\ncontent-length: 3", EITHER),
    ("unequal fields", "content-length: 3\r\ncontent-length: 4", REFUSED),
    ("unequal fields, larger first", "content-length: 40\r\ncontent-length: 3", REFUSED),
    ("fields equal as numbers", "content-length: 3\r\ncontent-length: 03", EITHER),
    ("second field empty", "content-length: 3\r\ncontent-length:", REFUSED),
    ("2^63", "content-length: 9223372036854775808", Expect::Refused(&[400, 413])),
    ("2^64", "content-length: 18446744073709551616", Expect::Refused(&[400, 413])),
    ("2^64 + 3", "content-length: 18446744073709551619", Expect::Refused(&[400, 413])),
    ("2^128 + 3", "content-length: 340282366920938463463374607431768211459", Expect::Refused(&[400, 413])),
    ("space before the colon", "content-length : 3", REFUSED),
    ("folded", "content-length:\r\n 3", REFUSED),
    ("cut short by the fold", "content-length: 3\r\n 0", REFUSED),
];

#[test]
fn content_lengths() {
    let mut cases: Vec<_> = CONTENT_LENGTHS
        .iter()
        .map(|(name, fields, expect)| Case::new(name, post(fields, "abc"), expect.clone()))
        .collect();
    cases.push(Case::new(
        "body of a GET",
        "GET /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabc",
        EITHER,
    ));
    cases.push(Case::new(
        "body of a DELETE in chunks",
        "DELETE /case HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        EITHER,
    ));
    cases.push(Case::new(
        "body of a HEAD",
        format!("HEAD /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n{HIDDEN}", HIDDEN.len()),
        EITHER,
    ));
    run(&Lab::new(), &cases);
}

#[test]
fn chunk_sizes() {
    let sizes: &[(&'static str, &str, Expect)] = &[
        ("plain", "3\r\nabc\r\n0\r\n\r\n", forwarded("abc")),
        ("upper case", "00A\r\n0123456789\r\n0\r\n\r\n", forwarded("0123456789")),
        ("zeros at the end", "3\r\nabc\r\n0000\r\n\r\n", forwarded("abc")),
        ("blank after", "3 \r\nabc\r\n0\r\n\r\n", EITHER),
        ("blank before", " 3\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("hexadecimal prefix", "0x3\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("plus", "+3\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("minus", "-3\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("empty", "\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("not a number", "z\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("underscore", "0_3\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("17 digits that overflow to 3", "10000000000000003\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("2^64 - 1", "ffffffffffffffff\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("2^63", "8000000000000000\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("bare LF after the size", "3\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("bare CR after the size", "3\rabc\r\n0\r\n\r\n", Expect::Broken),
        ("CR CR LF after the size", "3\r\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("no CRLF after the data", "3\r\nabc0\r\n\r\n", Expect::Broken),
        ("other bytes after the data", "3\r\nabcXX0\r\n\r\n", Expect::Broken),
        ("bare LF after the data", "3\r\nabc\n0\r\n\r\n", Expect::Broken),
        ("bare CR after the data", "3\r\nabc\r0\r\n\r\n", Expect::Broken),
        ("longer than its size", "2\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("NUL after the size", "3\0\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("bare LF at the end", "3\r\nabc\r\n0\n\n", Expect::Broken),
        ("bare CR at the end", "3\r\nabc\r\n0\r\n\rX", Expect::Broken),
    ];
    let cases: Vec<_> = sizes
        .iter()
        .map(|(name, body, expect)| Case::new(name, post("transfer-encoding: chunked", body), expect.clone()))
        .collect();
    run(&Lab::new(), &cases);
}

/// Line ends inside extensions are what "TERM.EXT", "EXT.TERM" and "SPILL" attacks are made of.
#[test]
fn chunk_extensions() {
    let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(40_000));
    let many = format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "b".repeat(1_000)).repeat(60));
    let bodies: &[(&'static str, &str, Expect)] = &[
        ("plain", "3;a=b\r\nabc\r\n0;c\r\n\r\n", EITHER),
        ("quoted", "3;a=\"b;c\"\r\nabc\r\n0\r\n\r\n", EITHER),
        ("bare LF", "3;a\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("bare CR", "3;a\rb\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("bare LF inside", "3;a\nb\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("LF in quotes", "3;a=\"\n\"\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("CRLF in quotes", "3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("NUL", "3;\0\r\nabc\r\n0\r\n\r\n", Expect::Broken),
        ("bare LF at the last chunk", "3\r\nabc\r\n0;a\n\r\n", Expect::Broken),
        (
            "a hidden request after a bare LF",
            "2;\nxx\r\n4c\r\n0\r\n\r\nGET /admin/x HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            Expect::Broken,
        ),
        ("very long", &long, Expect::Broken),
        ("many long ones", &many, Expect::Broken),
    ];
    let cases: Vec<_> = bodies
        .iter()
        .map(|(name, body, expect)| Case::new(name, post("transfer-encoding: chunked", body), expect.clone()))
        .collect();
    run(&Lab::new(), &cases);
}

#[test]
fn trailers() {
    let sections: &[(&'static str, &str, Expect)] = &[
        ("plain", "x-sum: 1\r\n", forwarded("abc")),
        // Whether these are dropped or the request is refused is open; the strict reader refuses them upstream.
        ("length", "content-length: 50\r\n", EITHER),
        ("coding", "transfer-encoding: chunked\r\n", EITHER),
        ("host", "host: b.test\r\n", EITHER),
        ("no colon", "abc\r\n", Expect::Broken),
        ("empty name", ": abc\r\n", Expect::Broken),
        ("space before the colon", "x-sum : 1\r\n", Expect::Broken),
        ("folded", "x-sum: 1\r\n 2\r\n", Expect::Broken),
        ("NUL", "x-sum: 1\0\r\n", Expect::Broken),
        ("bare CR", "x-sum: 1\rx-other: 2\r\n", Expect::Broken),
        ("a request line", "GET /admin/x HTTP/1.1\r\n", Expect::Broken),
    ];
    let mut cases: Vec<_> = sections
        .iter()
        .map(|(name, trailers, expect)| {
            let body = format!("3\r\nabc\r\n0\r\n{trailers}\r\n");
            Case::new(name, post("transfer-encoding: chunked", &body), expect.clone())
        })
        .collect();
    let flood = format!("0\r\n{}\r\n", "x-a: b\r\n".repeat(20_000));
    cases.push(Case::new("a flood of them", post("transfer-encoding: chunked", &flood), Expect::Broken));
    run(&Lab::new(), &cases);
}

#[test]
fn trailers_are_not_merged_into_the_head() {
    let lab = Lab::new();
    let body = "3\r\nabc\r\n0\r\nx-role: admin\r\ncontent-length: 7\r\nauthorization: x\r\n\r\n";
    let seen = lab.observe(&[post("transfer-encoding: chunked\r\ntrailer: x-role", body)], "POST", 1);
    for request in &seen.requests {
        let headers = request.headers();
        assert!(
            !headers.has("x-role") && !headers.has("authorization") && !headers.has("content-length"),
            "{headers:?}"
        );
        assert!(!request.trailers.has("content-length"), "{:?}", request.trailers);
    }
}

#[test]
fn a_body_that_ends_early_is_not_completed() {
    let lab = Lab::new();
    for (name, bytes) in [
        ("length", post("content-length: 10", "abc")),
        ("chunk", post("transfer-encoding: chunked", "a\r\nabc")),
        ("no last chunk", post("transfer-encoding: chunked", "3\r\nabc\r\n")),
        ("no end of trailers", post("transfer-encoding: chunked", "3\r\nabc\r\n0\r\n")),
    ] {
        let mut client = lab.client();
        client.send(&bytes);
        client.half_close();
        client.rest();
        let complete: Vec<_> =
            lab.collect().into_iter().filter(|r| r.state != tidegate_testkit::State::CutOff).collect();
        assert!(complete.is_empty(), "{name}: {complete:?}");
    }
}
