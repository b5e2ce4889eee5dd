//! The first-party filter `auth` with an authorization service, as it is shipped. One that is asked by HTTP is the upstream
//! below `/authz` (`traffic.rs`), so what it was asked is compared as well; one that is asked by gRPC tells of it in what it
//! decides.

use tidegate_testkit::grpc_message::{field, find};
use tidegate_testkit::{GrpcStep, GrpcUpstream};

use super::{Case, get, post};
use crate::envoy::config::{EXTERNAL, EXTERNAL_BODY, EXTERNAL_GRPC, EXTERNAL_PART};

pub(crate) fn cases() -> Vec<Case> {
    let of = |name: &str, headers: &[(&'static str, &'static str)], case: Case| Case {
        name: format!("external, {name}"),
        listener: EXTERNAL.to_owned(),
        headers: headers.to_vec(),
        ..case
    };
    let mut cases = vec![
        of("allowed", &[("x-t-who", "me")], get("", "").to("/body")),
        of("allowed, claims to be somebody", &[("x-t-user", "root"), ("x-t-subject", "root")], get("", "")),
        of("allowed, with a body", &[], post("", "").sized()),
        of("denied", &[], get("", "").to("/denied")),
        of("denied, with a body", &[], post("", "").sized().to("/denied")),
        of("sent to the login", &[], get("", "").to("/login")),
        of("no decision", &[], get("", "").to("/broken")),
    ];
    let of = |name: &str, case: Case| of(name, &[("x-t-who", "me"), ("x-t-user", "root")], case);
    let grpc = [
        of("gRPC, allowed", get("", "").to("/body?a=b")),
        of("gRPC, allowed, with a body", post("", "").sized()),
        of("gRPC, denied", get("", "").to("/denied")),
        of("gRPC, denied, with a body", post("", "").sized().to("/denied")),
        of("gRPC, no decision", get("", "").to("/broken")),
        of("gRPC, what is no message", get("", "").to("/odd")),
    ];
    cases.extend(grpc.map(|case| Case { listener: EXTERNAL_GRPC.to_owned(), ..case }));
    cases.extend(with_bodies(&of));
    let again = |case: &Case| Case { name: format!("{}, h2", case.name), http2: true, ..case.clone() };
    cases.extend(cases.iter().map(again).collect::<Vec<_>>());
    cases
}

/// Services that are shown bodies, all of them or their beginnings.
fn with_bodies(of: &impl Fn(&str, Case) -> Case) -> Vec<Case> {
    let whole = [
        of("body, none to be shown", get("", "")),
        of("body, allowed", post("", "").sized()),
        of("body, allowed, in chunks", post("", "")),
        of("body, denied", post("", "").sized().to("/denied")),
        of("body, too large", post("", "").pieces(&["abcdef", "gh"]).sized()),
    ];
    let part = [
        of("part, all of it", post("", "").pieces(&["ab"]).sized()),
        of("part, the beginning", post("", "").sized()),
        of("part, denied", post("", "").sized().to("/denied")),
    ];
    let to = |listener: &'static str| move |case| Case { listener: listener.to_owned(), ..case };
    whole.into_iter().map(to(EXTERNAL_BODY)).chain(part.into_iter().map(to(EXTERNAL_PART))).collect()
}

/// An authorization service of Envoy's protocol.
pub(in crate::envoy) fn service() -> GrpcUpstream {
    GrpcUpstream::start(|path| match path {
        "/envoy.service.auth.v3.Authorization/Check" => {
            let end = GrpcStep::Trailers(vec![("grpc-status", "0")]);
            vec![GrpcStep::Head(vec![]), GrpcStep::Reply(decide), end]
        }
        _ => vec![GrpcStep::Only(200, vec![("grpc-status", "12")])],
    })
}

/// Decides by the path, and says whom it takes the client for and what it was asked.
fn decide(request: &[u8]) -> Vec<u8> {
    // CheckRequest: attributes 1, request 4, http 2; method 2, headers 3, path 4, host 5.
    let http = [1, 4, 2].iter().fold(request, |message, number| find(message, *number));
    let text = |number| String::from_utf8_lossy(find(http, number)).into_owned();
    let asked = format!("{} {} {} {}", text(2), text(4), text(5), count(http, b"x-t-"));
    let option =
        |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    match text(4).as_str() {
        "/denied" => {
            // PERMISSION_DENIED; 403, with a header and a text.
            let answer =
                [field(1, &[8, 0x93, 3]), field(2, &option("x-t-asked", &asked)), field(3, b"not you")];
            [field(1, &[8, 7]), field(2, &answer.concat())].concat()
        }
        // INTERNAL, and nothing else.
        "/broken" => field(1, &[8, 13]),
        "/odd" => b"\x12\x7fx".to_vec(),
        _ => {
            let answer = [
                field(2, &option("x-t-user", "ann")),
                field(2, &option("x-t-asked", &asked)),
                field(5, b"x-t-who"),
                field(6, &option("x-t-decided", "yes")),
            ];
            field(3, &answer.concat())
        }
    }
}

/// How often these bytes are there.
fn count(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).filter(|window| *window == part).count()
}
