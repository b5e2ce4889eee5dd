//! What picking a server among ten thousand costs, and what it costs that one of them changes.

use std::fmt::Write;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use tidegate_config::{SourceText, load};
use tidegate_proxy::{Assets, Server, ServerPicker, Snapshot};

use crate::rules::Nothing;

/// One thing to be measured.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// As a document has it.
    balance: &'static str,
    /// Servers have weights of 1 to so many.
    weights: u32,
    /// A server changes its weight, and no request is made.
    changes: bool,
}

const fn pick(name: &'static str, balance: &'static str, weights: u32) -> Case {
    Case { name, balance, weights, changes: false }
}

const fn change(name: &'static str, balance: &'static str) -> Case {
    Case { name, balance, weights: 5, changes: true }
}

pub(crate) const CASES: [Case; 16] = [
    pick("pick_roundRobin", "roundRobin", 1),
    pick("pick_roundRobin_weights", "roundRobin", 5),
    pick("pick_roundRobin_100_weights", "roundRobin", 100),
    pick("pick_leastRequest", "leastRequest", 1),
    pick("pick_leastRequest_weights", "leastRequest", 5),
    pick("pick_peakEwma", "peakEwma", 1),
    pick("pick_random", "random", 1),
    pick("pick_ringHash", "ringHash", 1),
    pick("pick_ringHash_weights", "ringHash", 5),
    pick("pick_maglev", "maglev", 1),
    pick("pick_maglev_weights", "maglev", 5),
    pick("pick_maglev_bounded", "{ method: maglev, boundedLoad: 150 }", 1),
    change("change_roundRobin", "roundRobin"),
    change("change_leastRequest", "leastRequest"),
    change("change_ringHash", "ringHash"),
    change("change_maglev", "maglev"),
];

const SERVERS: u32 = 10_000;

/// Requests, or changes, one after the other.
pub(crate) struct Running {
    picker: ServerPicker,
    changes: bool,
    next: u64,
}

impl Running {
    pub(crate) fn start(case: &Case) -> Result<Self> {
        let mut text = format!("upstreams:\n  up:\n    balance: {}\n    servers:\n", case.balance);
        for index in 0..SERVERS {
            let weight = index % case.weights + 1;
            writeln!(text, "    - {{ address: '{}', weight: {weight} }}", address(index))?;
        }
        let source = SourceText { name: "servers.yaml".to_owned(), text };
        let loaded = match load(&[source], Path::new("/"), &Nothing) {
            Ok(loaded) => loaded,
            Err(problems) => bail!("{problems}"),
        };
        let snapshot = Snapshot::build(loaded.plan, &Assets::default(), None)?;
        let picker = ServerPicker::new(&snapshot).context("there is an upstream")?;
        Ok(Self { picker, changes: case.changes, next: 0 })
    }

    pub(crate) fn call(&mut self) -> Result<()> {
        // A step without a divisor in common visits all keys, and servers, in an order that caches do not foresee.
        self.next = self.next.wrapping_add(0x9e37_79b9_7f4a_7c15);
        if self.changes {
            let index = (self.next >> 32) as u32 % SERVERS;
            let weight = (self.next % 5) as u32 + 1;
            let server = Server { weight, ..Server::new(address(index)) };
            ensure!(self.picker.amend(black_box(&[server]), &[]) <= 1, "one server changes");
            return Ok(());
        }
        ensure!(black_box(self.picker.pick(black_box(self.next))).is_some(), "no server is picked");
        Ok(())
    }
}

fn address(index: u32) -> SocketAddr {
    (Ipv4Addr::from_bits(0x0a00_0001 + index), 8080).into()
}
