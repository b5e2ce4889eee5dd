//! Which of a rule's upstreams a request is for, and which version of a plugin it passes.

use std::net::IpAddr;

use http::header::COOKIE;
use http::request::Parts;
use tidegate_config::plan::{PluginIndex, Sticky};

use crate::exchange::Exchange;
use crate::local::View;
use crate::shared::Arm;
use crate::snapshot::{Canary, Targets};

impl Exchange {
    /// The upstream for a request, where no filter has chosen one.
    #[inline]
    pub(crate) fn choose(&mut self, targets: &Targets, head: &Parts) -> Option<usize> {
        if targets.is_by_weight() {
            return targets.next(self.record.client.local.shard.worker);
        }
        self.choose_arm(targets, head)
    }

    #[cold]
    fn choose_arm(&mut self, targets: &Targets, head: &Parts) -> Option<usize> {
        let worker = self.record.client.local.shard.worker;
        if targets.sessions.is_empty() {
            return self.choose_anew(targets, head, worker);
        }
        let (kept, brought) = self.resume(targets, head);
        let index = kept.or_else(|| self.choose_anew(targets, head, worker))?;
        self.hold(targets, index, brought);
        Some(index)
    }

    fn choose_anew(&mut self, targets: &Targets, head: &Parts, worker: usize) -> Option<usize> {
        let key = self.key(targets.sticky.as_ref(), head);
        if let Some((to, rollout)) = &targets.release {
            let arm = rollout.takes(worker, key);
            self.record.take_arm(rollout, arm, None);
            if arm == Arm::New {
                return Some(*to);
            }
        }
        match key {
            // The same bits have kept it with the old version, so others choose among those.
            Some(key) => targets.of(mix(key)),
            None => targets.next(worker),
        }
    }

    /// The version of a plugin that a request passes.
    #[inline]
    pub(crate) fn version(&mut self, view: &View, plugin: PluginIndex, head: &Parts) -> PluginIndex {
        match view.snapshot.canaries.get(plugin) {
            Some(Some(canary)) if canary.loaded => self.choose_version(plugin, canary, head),
            _ => plugin,
        }
    }

    /// A request that meets a plugin again meets the same version.
    #[cold]
    fn choose_version(&mut self, plugin: PluginIndex, canary: &Canary, head: &Parts) -> PluginIndex {
        let of = |arm: Arm| if arm == Arm::New { canary.plugin } else { plugin };
        if let Some(arm) = self.record.taken_arm(&canary.rollout) {
            return of(arm);
        }
        let key = self.key(canary.sticky.as_ref(), head);
        let arm = canary.rollout.takes(self.record.client.local.shard.worker, key);
        self.record.take_arm(&canary.rollout, arm, Some(of(arm)));
        of(arm)
    }

    /// What keeps the client with a version; none: the request does not say.
    fn key(&self, sticky: Option<&Sticky>, head: &Parts) -> Option<u64> {
        match sticky? {
            Sticky::Address => Some(match self.record.source().ip().to_canonical() {
                IpAddr::V4(address) => hash(&address.octets()),
                IpAddr::V6(address) => hash(&address.octets()),
            }),
            Sticky::Header(name) => head.headers.get(name).map(|value| hash(value.as_bytes())),
            Sticky::Cookie(name) => {
                let all = head.headers.get_all(COOKIE).into_iter();
                all.flat_map(|value| value.as_bytes().split(|&byte| byte == b';'))
                    .find_map(|pair| {
                        pair.trim_ascii_start().strip_prefix(name.as_bytes())?.strip_prefix(b"=")
                    })
                    .map(|value| hash(value.trim_ascii_end()))
            }
        }
    }
}

/// The same for the same bytes on each worker, in each gateway and after each restart.
fn hash(bytes: &[u8]) -> u64 {
    // FNV-1a, which no library can change under the clients.
    let fold = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// Makes each bit depend on all others (the last step of SplitMix64).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_are_spread() {
        for parts in [2_u64, 10, 100] {
            let mut counts = vec![0_u64; parts as usize];
            for user in 0..10_000 {
                let key = hash(format!("user-{user}").as_bytes());
                counts[((u128::from(key) * u128::from(parts)) >> 64) as usize] += 1;
            }
            let even = 10_000 / parts;
            let slack = even / 10 + 40;
            assert!(counts.iter().all(|count| count.abs_diff(even) < slack), "{counts:?}");
        }
    }
}
