//! One canonical path: it is what rules match and what the upstream gets.

use tidegate_testkit::State;
use tidegate_wire::{Case, Expect, Lab, run};

fn get(target: &str) -> Vec<u8> {
    let text = format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n\r\n");
    text.chars().map(|c| u8::try_from(c).expect("cases are Latin-1")).collect()
}

#[test]
fn paths_reach_the_upstream_in_canonical_form() {
    let rows = [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("/a/./b", "/a/b"),
        ("/a/b/.", "/a/b/"),
        ("/a/b/..", "/a/"),
        ("/a/../b", "/b"),
        ("/a/b/../../c", "/c"),
        ("/a/%2e/b", "/a/b"),
        ("/a/%2E%2e/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/%61%2D%5f%7E", "/a-_~"),
        ("/a%20b", "/a%20b"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a.b/..c/...", "/a.b/..c/..."),
        ("/a?x=../b&y=%2e%2e/%61", "/a?x=../b&y=%2e%2e/%61"),
        ("/a?", "/a?"),
        ("/a/../b?/../c", "/b?/../c"),
        ("/a/%252e%252e/b", "/a/%252e%252e/b"),
        ("/A/B", "/A/B"),
        ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
    ];
    let cases: Vec<_> = rows
        .iter()
        .map(|(sent, target)| Case::new(sent, get(sent), Expect::Forwarded { target, body: "" }))
        .collect();
    run(&Lab::new(), &cases);
}

#[test]
fn paths_without_one_reading_are_refused() {
    let targets = ["/a%00b", "/%00", "/a%", "/a%2", "/a%zz", "/a%u0041"];
    let cases: Vec<_> = targets.iter().map(|t| Case::new(t, get(t), Expect::Answered(&[400]))).collect();
    run(&Lab::new(), &cases);
}

const SPELLINGS: &[&str] = &[
    "/admin/x",
    "/admin",
    "/admin/",
    "/a/../admin/x",
    "/a/%2e%2e/admin/x",
    "/a/%2e%2e%2fadmin/x",
    "/a/..%2fadmin/x",
    "/a%2f..%2fadmin/x",
    "/a/%2e%2e;/admin/x",
    "/a/..;/admin/x",
    "/a/..;x=y/admin/x",
    "/a/.;/../admin/x",
    "/;/admin/x",
    "/;x/admin/x",
    "/admin;x/y",
    "/admin;/y",
    "/admin;",
    "/%61dmin/x",
    "/%61%64%6d%69%6e/x",
    "//admin/x",
    "///admin/x",
    "/./admin/x",
    "/.//admin/x",
    "/a//../admin/x",
    "/a/..//admin/x",
    "/\\admin/x",
    "\\admin/x",
    "/a\\..\\admin\\x",
    "/a/..\\admin/x",
    "/a/%5c..%5cadmin/x",
    "/a%5c..%5cadmin/x",
    "/%5cadmin/x",
    "/..%5cadmin/x",
    "/admin%2fx",
    "/admin%5cx",
    "/admin\\x",
    "/admin/../admin/x",
    "/../admin/x",
    "/../../admin/x",
    "/%2e%2e/admin/x",
    "/admin%2e/../admin/x",
    "/%2fadmin/x",
    "/%2f/admin/x",
    "http://a.test/a/../admin/x",
    "http://a.test//admin/x",
];

/// Each of these is `/admin/…` to some server: refused, redirected, or guarded, but never forwarded as something that
/// such a server takes for it.
#[test]
fn no_spelling_of_a_guarded_path_reaches_the_upstream() {
    let lab = Lab::new();
    let mut failures = Vec::new();
    for target in SPELLINGS {
        let mut client = lab.client();
        client.send(get(target));
        client.half_close();
        let answer = client.response("GET");
        for request in lab.collect() {
            if request.state == State::Complete && readings(request.target()).iter().any(|r| is_admin(r)) {
                let status = answer.as_ref().map(|a| a.status).ok();
                failures.push(format!("{target}: upstream got {} ({status:?})", request.target()));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), SPELLINGS.len(), failures.join("\n"));
}

fn is_admin(path: &str) -> bool {
    path == "/admin" || path.starts_with("/admin/")
}

/// What servers make of a path: with and without parameters cut off before decoding (an encoded semicolon is not
/// one), slashes merged, backslashes taken for slashes; dots are always resolved.
fn readings(target: &str) -> Vec<String> {
    let path = target.split('?').next().unwrap_or_default();
    let decoded = decode(path);
    let mut readings = Vec::new();
    for text in [path.to_owned(), decoded, without_parameters(path), decode(&without_parameters(path))] {
        for slashed in [text.clone(), text.replace('\\', "/")] {
            readings.push(resolve(&slashed, false));
            readings.push(resolve(&slashed, true));
        }
    }
    readings
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let pair = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match pair.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn without_parameters(text: &str) -> String {
    text.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect::<Vec<_>>().join("/")
}

fn resolve(text: &str, merge: bool) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            "" if merge => {}
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}
