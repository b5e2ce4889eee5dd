//! Bodies and trailers: read whole and in chunks, replaced, limited, while other things are awaited.

use std::time::Duration;

use tidegate_sdk::{
    Body, Filter, Flow, NoConfig, Reply as Own, Request, Response, Result, filter, http, log, time,
};
use tidegate_sdk_test::{Gateway, Reply, Ways, get, post};

mod whole {
    use super::*;

    /// Reads the request whole, notes its length, replaces it; with `x-wait` it calls a server first and between.
    pub(super) struct Whole;

    #[filter]
    impl Filter for Whole {
        fn new(_: NoConfig) -> Self {
            Whole
        }

        async fn on_request(&self, request: &mut Request, body: &mut Body) -> Result<Flow> {
            let waits = request.headers().contains("x-wait");
            if waits {
                http::get("/before").to("auth").await?;
            }
            let bytes = body.collect(16).await?;
            request.headers().set("x-length", bytes.len().to_string());
            if waits {
                http::post("/body").to("auth").body(bytes.clone()).await?;
            }
            if !bytes.is_empty() {
                body.replace([b"<", bytes.as_slice(), b">"].concat())?;
            }
            if let Some(trailers) = body.trailers().await {
                request.state();
                let _ = trailers.get("x-sum");
            }
            Ok(Flow::Continue)
        }
    }
}

#[test]
fn a_collected_body_can_be_replaced() {
    let gateway = Gateway::<whole::Whole>::start("").unwrap();
    gateway.on_call("auth", |_| Reply::new(200).after(Duration::from_millis(5)));
    for waits in [false, true] {
        for (sent, got) in [("", ""), ("a", "<a>"), ("hello world", "<hello world>")] {
            let mut request = post("/").body(sent);
            if waits {
                request = request.header("x-wait", "1");
            }
            let answer = gateway.send(request);
            let upstream = answer.upstream().unwrap();
            assert_eq!(upstream.body(), got.as_bytes());
            assert_eq!(upstream.header("x-length"), Some(sent.len().to_string().as_str()));
        }
        assert_eq!(gateway.send(get("/")).upstream().unwrap().header("x-length"), Some("0"));
    }
}

#[test]
fn a_body_above_the_limit_is_refused() {
    let gateway = Gateway::<whole::Whole>::start("").unwrap();
    let answer = gateway.send(post("/").body("12345678901234567"));
    assert_eq!((answer.status(), answer.details()), (413, "filter_too_large"));
    assert!(answer.upstream().is_none());
}

#[test]
fn a_host_that_shows_no_body_before_the_head_is_noticed() {
    let gateway = Gateway::<whole::Whole>::with("", Ways::all().portable()).unwrap();
    let sent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| gateway.send(post("/").body("ab"))));
    let message = sent.err().and_then(|panic| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    assert!(message.contains("a host that shows no body while it holds the head"), "{message}");
}

mod upper {
    use super::*;

    /// Streams the response, in capitals, with something before and behind it; sleeps at each `z`.
    pub(super) struct Upper;

    #[filter]
    impl Filter for Upper {
        fn new(_: NoConfig) -> Self {
            Upper
        }

        async fn on_response(&self, response: &mut Response, body: &mut Body) -> Result<()> {
            response.headers().set("x-upper", "1");
            body.rewrite();
            while let Some(chunk) = body.next().await? {
                if chunk.contains(&b'z') {
                    time::sleep(Duration::from_millis(10)).await;
                }
                body.replace(chunk.to_ascii_uppercase())?;
            }
            Ok(())
        }
    }
}

#[test]
fn a_stream_is_changed_chunk_by_chunk() {
    let gateway = Gateway::<upper::Upper>::with("", Ways::all().portable()).unwrap();
    for body in ["", "a", "hello", "zigzag zoo", &"long z ".repeat(500)] {
        let answer = gateway.send(get("/").answered(Reply::new(200).body(body)));
        assert_eq!(answer.text(), body.to_ascii_uppercase());
        assert_eq!(answer.header("x-upper"), Some("1"));
    }
    let trailed = Reply::new(200).body("abc").trailer("x-sum", "6");
    let answer = gateway.send(get("/").answered(trailed));
    assert_eq!((answer.text().as_str(), answer.trailers().get_str("x-sum")), ("ABC", Some("6")));
}

mod careless {
    use super::*;

    /// Wrong for one piece in particular.
    pub(super) struct Careless;

    #[filter]
    impl Filter for Careless {
        fn new(_: NoConfig) -> Self {
            Careless
        }

        async fn on_response(&self, _response: &mut Response, body: &mut Body) -> Result<()> {
            body.rewrite();
            while let Some(chunk) = body.next().await? {
                if chunk.len() == 3 || chunk.len() == 333 {
                    log::warn!("a strange piece");
                    body.replace("?")?;
                }
            }
            Ok(())
        }
    }
}

#[test]
fn what_depends_on_pieces_of_answers_is_noticed_and_told() {
    let told = |body: String| {
        let gateway = Gateway::<careless::Careless>::start("").unwrap();
        let sent = get("/a").answered(Reply::new(200).body(body));
        let sent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| gateway.send(sent)));
        sent.err().and_then(|panic| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
    };
    let short = "it matters how GET /a comes (body cut after 3 bytes):\n  body: \"?3456789\"\n    but plain: \
        \"0123456789\"\n  it logged: WARN a strange piece";
    assert_eq!(told("0123456789".to_owned()), short);
    let long = told("x".repeat(666));
    for part in
        ["(halves, then trailers)", "body: 2 bytes, from 0 on \"??\"", "but plain: 666 bytes, from 0 on"]
    {
        assert!(long.contains(part), "{part}: {long}");
    }
}

mod limit {
    use super::*;

    pub(super) struct Limit;

    #[filter]
    impl Filter for Limit {
        fn new(_: NoConfig) -> Self {
            Limit
        }

        async fn on_request(&self, _request: &mut Request, body: &mut Body) -> Result<()> {
            body.pass(4).await?;
            Ok(())
        }

        async fn on_response(&self, _response: &mut Response, body: &mut Body) -> Option<Own> {
            let trailers = body.trailers().await?;
            (trailers.get("x-bad").is_some()).then(|| Own::text(502, "bad trailers"))
        }
    }
}

#[test]
fn a_stream_is_limited() {
    let gateway = Gateway::<limit::Limit>::start("").unwrap();
    assert_eq!(gateway.send(post("/").body("1234")).status(), 200);
    assert_eq!(gateway.send(post("/").body("12345")).status(), 413);
}

#[test]
fn an_answer_that_comes_too_late_breaks_the_exchange_off() {
    let gateway = Gateway::<limit::Limit>::start("").unwrap();
    let answer = gateway.send(get("/").answered(Reply::new(200).body("ab").trailer("x-bad", "1")));
    assert!(answer.is_broken());
    let answer = gateway.send(get("/").answered(Reply::new(200).body("ab").trailer("x-good", "1")));
    assert!(!answer.is_broken());
}

mod append {
    use super::*;

    pub(super) struct Append;

    #[filter]
    impl Filter for Append {
        fn new(_: NoConfig) -> Self {
            Append
        }

        async fn on_request(&self, _request: &mut Request, body: &mut Body) -> Result<()> {
            body.rewrite();
            while body.next().await?.is_some() {}
            body.replace(" and more")?;
            body.add_trailer("x-end", "1")?;
            Ok(())
        }
    }
}

#[test]
fn something_is_added_at_the_end() {
    let gateway = Gateway::<append::Append>::with("", Ways::all().portable()).unwrap();
    for body in ["", "one", "one two three"] {
        let answer = gateway.send(post("/").body(body));
        assert_eq!(answer.upstream().unwrap().body(), format!("{body} and more").as_bytes());
        assert_eq!(answer.upstream().unwrap().trailers().get_str("x-end"), Some("1"));
    }
    let with_trailers = || post("/").body("one").trailer("x-sum", "3");
    let answer = Gateway::<append::Append>::start("").unwrap().send(with_trailers());
    let seen = answer.upstream().unwrap();
    assert_eq!((seen.body(), seen.trailers().len()), (&b"one and more"[..], 2));
    // Elsewhere the body has gone on before the trailers come.
    let refused = Gateway::<append::Append>::elsewhere("").unwrap().send(with_trailers());
    assert_eq!((refused.status(), refused.logged("the body has gone on")), (500, true));
}

mod late {
    use super::*;

    /// Keeps back what is after the last line break; at the end asks a server, and sends the rest twice.
    pub(super) struct Late;

    #[filter]
    impl Filter for Late {
        fn new(_: NoConfig) -> Self {
            Late
        }

        async fn on_response(&self, _response: &mut Response, body: &mut Body) -> Result<()> {
            body.rewrite();
            let mut rest = Vec::new();
            while let Some(chunk) = body.next().await? {
                rest.extend(chunk);
                let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                body.replace(rest.drain(..end).collect::<Vec<_>>())?;
            }
            http::get("/end").to("auth").await?;
            body.replace(&rest)?;
            body.replace([rest.as_slice(), rest.as_slice()].concat())?;
            Ok(())
        }
    }
}

#[test]
fn something_is_added_after_a_wait_at_the_end() {
    let gateway = Gateway::<late::Late>::start("").unwrap();
    gateway.on_call("auth", |_| Reply::new(200).after(Duration::from_millis(5)));
    for (body, got) in [("a\nb\nc", "a\nb\ncc"), ("abc", "abcabc"), ("a\n", "a\n"), ("", "")] {
        assert_eq!(gateway.send(get("/").answered(Reply::new(200).body(body))).text(), got);
        let answer = gateway.send(get("/").answered(Reply::new(200).body(body).trailer("x-sum", "6")));
        assert_eq!((answer.text().as_str(), answer.trailers().get_str("x-sum")), (got, Some("6")));
    }
}
