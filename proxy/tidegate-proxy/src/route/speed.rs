//! What finding a rule costs with one route and with ten thousand. Run it by hand, optimised:
//! `cargo test --release -p tidegate-proxy --lib route::speed -- --ignored --nocapture`

use std::hint::black_box;
use std::time::Instant;

use http::Request;
use http::request::Parts;
use tidegate_config::plan::Plan;

use super::RouteTable;
use super::tests::{plan, route};

/// Half of the routes exact, half by prefix.
fn many(count: usize, hostnames: &[&str]) -> Plan {
    let routes = (0..count).map(|index| {
        let word = if index % 2 == 0 { format!("=/exact/r{index}") } else { format!("/prefix/r{index}") };
        route(&index.to_string(), hostnames, &[&[word.as_str()]])
    });
    plan(&[], routes.collect())
}

fn request(target: &str) -> http::request::Builder {
    Request::builder()
        .uri(target)
        .header("host", "shop.example.com:8080")
        .header("user-agent", "speed")
        .header("accept", "*/*")
}

fn heads(count: usize) -> Vec<Parts> {
    (0..count)
        .map(|index| {
            let target = if index % 2 == 0 {
                format!("/exact/r{index}")
            } else {
                format!("/prefix/r{index}/some/more?a=b")
            };
            request(&target).body(()).expect("a request").into_parts().0
        })
        .collect()
}

/// The least of several rounds, in nanoseconds for each call.
fn measure(calls: usize, mut call: impl FnMut(usize)) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..7 {
        let start = Instant::now();
        for index in 0..calls {
            call(index);
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / calls as f64);
    }
    best
}

#[test]
#[ignore = "a measurement"]
fn find() {
    for hostnames in [&[][..], &["shop.example.com"], &["*.example.com"]] {
        for count in [1, 2, 10_000] {
            let plan = many(count, hostnames);
            let table = RouteTable::build(&plan, 0).expect("builds");
            let heads = heads(count);
            // A prime step visits all heads in an order that caches do not foresee.
            let cost = measure(1_000_000, |index| {
                let head = &heads[index * 7_919 % count];
                let host = head.headers[http::header::HOST].as_bytes();
                black_box(table.find(black_box(host), black_box(head)));
            });
            println!("{count:>6} routes for {hostnames:?}: {cost:.1} ns");
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn sanitize() {
    let mut plain = heads(1).remove(0);
    let cost = measure(1_000_000, |_| {
        black_box(crate::http::sanitize::request(black_box(&mut plain)).is_ok());
    });
    println!("sanitizing a plain request: {cost:.1} ns");
    let client = crate::http::headers::Client::new([192, 0, 2, 1].into(), false);
    let ids = crate::http::headers::RequestIds::new(7);
    let mut head = heads(1).remove(0);
    let cost = measure(1_000_000, |_| {
        crate::http::headers::forwarded(
            black_box(&mut head.headers),
            &client,
            crate::http::headers::Claims::None,
        );
        crate::http::headers::request_id(&mut head.headers, &ids, false);
        for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"] {
            head.headers.remove(name);
        }
    });
    println!("writing and removing four fields about the client: {cost:.1} ns");
}
