//! What finding a rule costs with one route and with ten thousand, and what the look at a head before it costs.

use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use http::Request;
use http::request::Parts;
use tidegate_config::{Secrets, SourceText, load};
use tidegate_proxy::RuleFinder;

/// One thing to be measured.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// How many routes there are, half of them exact, half by prefix; none: only the head is looked at.
    routes: usize,
    /// Hosts of each route.
    hostnames: &'static str,
}

pub(crate) const CASES: [Case; 5] = [
    Case { name: "route_head", routes: 0, hostnames: "" },
    Case { name: "route_one", routes: 1, hostnames: "" },
    Case { name: "route_many", routes: 10_000, hostnames: "" },
    Case { name: "route_many_host", routes: 10_000, hostnames: "hostnames: [shop.example.com], " },
    Case { name: "route_many_wildcard", routes: 10_000, hostnames: "hostnames: ['*.example.com'], " },
];

/// Requests for one listener, one after the other.
pub(crate) struct Running {
    finder: Option<RuleFinder>,
    heads: Vec<Parts>,
    next: usize,
}

/// No secrets.
pub(crate) struct Nothing;

impl Secrets for Nothing {
    fn env(&self, name: &str) -> Result<String, String> {
        Err(format!("{name} is not known"))
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        Err(format!("{} is not read", path.display()))
    }
}

impl Running {
    pub(crate) fn start(case: &Case) -> Result<Self> {
        let mut text =
            "listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]\nroutes:\n".to_owned();
        for index in 0..case.routes.max(1) {
            let path = if index % 2 == 0 { "exact: /exact/r" } else { "prefix: /prefix/r" };
            let matches = format!("matches: [{{ path: {{ {path}{index} }} }}]");
            writeln!(
                text,
                "- {{ name: r{index}, {}rules: [{{ {matches}, respond: {{ status: 200 }} }}] }}",
                case.hostnames
            )?;
        }
        let source = SourceText { name: "routes.yaml".to_owned(), text };
        let loaded = match load(&[source], Path::new("/"), &Nothing) {
            Ok(loaded) => loaded,
            Err(problems) => bail!("{problems}"),
        };
        let finder = RuleFinder::build(&loaded.plan, 0).map_err(anyhow::Error::msg)?;
        let heads: Vec<Parts> = (0..case.routes.max(1)).map(head).collect::<Result<_>>()?;
        for (index, head) in heads.iter().enumerate() {
            ensure!(finder.find(head) == Some((index, 0)), "another rule than {index} is found");
        }
        Ok(Self { finder: (case.routes > 0).then_some(finder), heads, next: 0 })
    }

    pub(crate) fn call(&mut self) -> Result<()> {
        let count = self.heads.len();
        let head = self.heads.get_mut(self.next).context("a head for each route")?;
        match &self.finder {
            Some(finder) => ensure!(black_box(finder.find(black_box(head))).is_some(), "no rule is found"),
            None => ensure!(RuleFinder::admit(black_box(head)), "the head is refused"),
        }
        // A prime step visits all heads in an order that caches do not foresee.
        self.next = (self.next + 7_919) % count;
        Ok(())
    }
}

fn head(index: usize) -> Result<Parts> {
    let target = match index % 2 {
        0 => format!("/exact/r{index}"),
        _ => format!("/prefix/r{index}/some/more?a=b"),
    };
    let request = Request::get(target)
        .header("host", "shop.example.com:8080")
        .header("user-agent", "micro")
        .header("accept", "*/*")
        .body(())?;
    Ok(request.into_parts().0)
}
