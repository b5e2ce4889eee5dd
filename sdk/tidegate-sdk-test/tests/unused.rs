//! The compiler does not take a filter for unused that is not `pub`: natively only tests make one.
#![deny(dead_code)]

use serde::Deserialize;
use tidegate_sdk::{Filter, Request, filter};

#[derive(Deserialize)]
struct Config {
    greeting: String,
}

struct Private {
    config: Config,
}

#[filter]
impl Filter for Private {
    type Config = Config;

    fn new(config: Config) -> Self {
        Private { config }
    }

    async fn on_request(&self, request: &mut Request) {
        request.headers().set("x-greeting", &self.config.greeting);
    }
}
