//! What filters read of a request besides headers, and where they send it.

use tidegate_sdk::{Filter, Flow, NoConfig, Reply as Own, Request, filter};
use tidegate_sdk_test::{Gateway, get};

mod read {
    use super::*;

    pub(super) struct Read;

    #[filter]
    impl Filter for Read {
        fn new(_: NoConfig) -> Self {
            Read
        }

        async fn on_request(&self, request: &mut Request) -> Flow {
            let cookie = request.cookie("session").map(|value| value.to_str().map(str::to_owned));
            let names: Vec<String> = request.cookies().into_iter().map(|(name, _)| name).collect();
            let seen = (cookie, names, request.query("q"), request.query_decoded("q"));
            Own::text(200, format!("{seen:?}")).into()
        }
    }
}

#[test]
fn cookies_and_queries_are_read() {
    let gateway = Gateway::<read::Read>::start("").expect("starts");
    let answer = gateway.send(get("/?q=a%20b+c").header("cookie", "a=1; session=x=y; session=2"));
    assert_eq!(
        answer.text(),
        "(Some(Some(\"x=y\")), [\"a\", \"session\", \"session\"], Some(\"a%20b+c\"), Some(\"a b c\"))\n"
    );
    assert_eq!(gateway.send(get("/")).text(), "(None, [], None, None)\n");
}
