//! The filter `api-key` in the gateway, with the configuration of `examples/api-key`. `cargo xtask filters` builds it.

use tidegate_testkit::{RawClient, ScriptedUpstream};
use tidegate_wire::shipped;

#[test]
fn only_known_keys_pass() {
    let upstream = ScriptedUpstream::plain();
    let gateway = shipped("api-key", &upstream, |text| text);
    let ask = |path: &str, headers: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nx-consumer: root\r\n{headers}\r\n");
        RawClient::connect(gateway.address("web")).exchange(request).status
    };
    let consumer = || {
        let requests = upstream.requests();
        requests.last().and_then(|request| request.header("x-consumer").map(str::to_owned))
    };
    for headers in [
        "",
        "x-api-key: \r\n",
        "x-api-key: for-this-example-onl\r\n",
        "authorization: for-this-example-only\r\n",
    ] {
        assert_eq!(ask("/", headers), 401, "{headers}");
    }
    assert!(upstream.requests().is_empty());
    assert_eq!((ask("/", "x-api-key: for-this-example-only\r\n"), consumer()), (200, Some("ann".to_owned())));
    assert_eq!((ask("/", "X-API-Key: of-nobody-in-particular\r\n"), consumer()), (200, None));
    assert_eq!(ask("/health", ""), 200);
    assert_eq!(ask("/health?x", "x-api-key: wrong\r\n"), 200);
}
