//! The first-party filter `cache`, as it is shipped: what is kept, confirmed, given again and taken out in both. The upstream
//! says by its path how long an answer is fresh (`traffic.rs`).

use super::{Case, get, post};
use crate::envoy::config::CACHE;

const TOKEN: (&str, &str) = ("authorization", "Bearer 0123456789abcdef");

pub(crate) fn cases() -> Vec<Case> {
    let of = |name: &str, headers: &[(&'static str, &'static str)], case: Case| Case {
        name: format!("cache, {name}"),
        listener: CACHE.to_owned(),
        headers: headers.to_vec(),
        ..case
    };
    let mut cases = vec![
        of("not kept", &[], get("", "").to("/body")),
        of("not kept, again", &[], get("", "").to("/body")),
        of("miss", &[], get("", "").to("/keep/max-age=3600")),
        of("hit", &[], get("", "").to("/keep/max-age=3600")),
        of("head of it", &[], get("", "").to("/keep/max-age=3600").by("HEAD")),
        of("known already", &[("if-none-match", "\"v1\"")], get("", "").to("/keep/max-age=3600")),
        of("a part", &[("range", "bytes=1-3")], get("", "").to("/keep/max-age=3600")),
        of("a part outside", &[("range", "bytes=9-")], get("", "").to("/keep/max-age=3600")),
        of("asked anew", &[("cache-control", "no-cache")], get("", "").to("/keep/max-age=3600")),
        of("only if cached", &[("cache-control", "only-if-cached")], get("", "").to("/keep/max-age=7")),
        of("to be confirmed", &[], get("", "").to("/keep/no-cache")),
        of("confirmed", &[], get("", "").to("/keep/no-cache")),
        of("written to", &[], post("", "").sized().to("/keep/max-age=3600")),
        of("miss after that", &[], get("", "").to("/keep/max-age=3600")),
        of("purge without the token", &[], get("", "").to("/keep/max-age=3600").by("PURGE")),
        of("purge", &[TOKEN], get("", "").to("/keep/max-age=3600").by("PURGE")),
        of("purge of nothing", &[TOKEN], get("", "").to("/keep/max-age=3600").by("PURGE")),
        of("purge by tag", &[TOKEN, ("purge-tags", "kept")], get("", "").by("PURGE")),
        of("miss after all", &[], get("", "").to("/keep/no-cache")),
    ];
    let again = |case: &Case| Case { name: format!("{}, h2", case.name), http2: true, ..case.clone() };
    cases.extend(cases.iter().map(again).collect::<Vec<_>>());
    cases
}
