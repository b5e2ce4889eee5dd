//! Tasks that wait for what others do.

use std::time::Duration;

use tidegate_sdk::{Filter, NoConfig, Reply, Request, filter, signal, spawn, time};
use tidegate_sdk_test::{Gateway, get};

/// Waits for what the header names, at most ten seconds; a task tells of "done" after one.
struct Waits;

#[filter]
impl Filter for Waits {
    fn new(_: NoConfig) -> Self {
        Waits
    }

    async fn on_request(&self, request: &mut Request) -> Reply {
        spawn(async {
            time::sleep(Duration::from_secs(1)).await;
            signal::tell("done", &[]);
        });
        let name = request.headers().get_str("x-name").unwrap_or_default();
        let numbered = signal::number().is_some();
        signal::wait(name, Duration::from_secs(10)).await;
        Reply::text(200, if numbered { "numbered" } else { "alone" })
    }
}

#[test]
fn who_waits_is_woken_when_it_is_told_of() {
    let gateway = Gateway::<Waits>::start("").expect("no configuration");
    let told = gateway.send(get("/").header("x-name", "done"));
    assert_eq!((told.text().as_str(), told.elapsed().as_secs()), ("numbered\n", 1));
}

#[test]
fn a_wait_ends_by_itself() {
    let gateway = Gateway::<Waits>::start("").expect("no configuration");
    let other = gateway.send(get("/").header("x-name", "other"));
    assert_eq!(other.elapsed().as_secs(), 10);
    assert_eq!(gateway.send(get("/").header("x-name", "done")).elapsed().as_secs(), 1);
}
