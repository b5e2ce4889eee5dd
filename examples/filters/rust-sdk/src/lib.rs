//! Refuses a path, asks an auth server, adds a field to responses. See ../README.md.

use std::time::Duration;

use tidegate_sdk::{Filter, Flow, NoConfig, Reply, Request, Response, Result, filter, http};

/// The filter.
pub struct Guard;

#[filter]
impl Filter for Guard {
    fn new(_: NoConfig) -> Self {
        Guard
    }

    async fn on_request(&self, request: &mut Request) -> Result<Flow> {
        if request.path() == "/private" {
            return Ok(Reply::text(403, "private").into());
        }
        let token = request.headers().get("authorization").unwrap_or_default();
        let call = http::get("/check").to("auth").header("authorization", token);
        let answer = call.timeout(Duration::from_secs(1)).await;
        let Some(answer) = answer.ok().filter(|answer| answer.status() == 200) else {
            return Ok(Reply::text(401, "who are you?").into());
        };
        match answer.headers().get("x-user") {
            Some(user) => request.headers().set("x-user", user),
            None => request.headers().remove("x-user"),
        }
        Ok(Flow::Continue)
    }

    async fn on_response(&self, response: &mut Response) {
        response.headers().set("x-filter", "rust-sdk");
    }
}

#[cfg(test)]
mod tests {
    use tidegate_sdk_test::{Gateway, Reply, get};

    use super::Guard;

    #[test]
    fn the_auth_server_is_asked_but_for_what_is_private() {
        let gateway = Gateway::<Guard>::start("").expect("it needs no configuration");
        gateway.on_call("auth", |call| match call.header("authorization") {
            Some("good") => Reply::new(200).header("x-user", "ann"),
            Some("nobody") => Reply::new(200),
            _ => Reply::new(401),
        });
        let passed = gateway.send(get("/").header("authorization", "good"));
        let user = passed.upstream().and_then(|request| request.header("x-user"));
        assert_eq!((user, passed.header("x-filter")), (Some("ann"), Some("rust-sdk")));
        let forged = gateway.send(get("/").header("authorization", "nobody").header("x-user", "forged"));
        assert_eq!(forged.upstream().and_then(|request| request.header("x-user")), None);
        assert_eq!(gateway.send(get("/")).status(), 401);
        let private = gateway.send(get("/private"));
        assert_eq!((private.status(), private.calls().len()), (403, 0));
    }
}
