//! Which listener a request arrives at.

use tidegate_config::plan::{Listener, ListenerIndex, Plan, Protocol};

use super::{ExplainRequest, Loser};
use crate::route::host::{HostKey, intersect, with_normal};

/// How well a listener fits; the greatest is taken, the first one of equals.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    /// The host is one of the listener's: without it the connection is made, but no rule matches.
    host: Option<HostKey>,
    /// The port is that of the scheme.
    usual_port: bool,
}

/// The listener that takes the request, and why the others do not.
pub(super) fn choose(plan: &Plan, request: &ExplainRequest) -> (Option<ListenerIndex>, Vec<Loser>) {
    let fits: Vec<Result<Fit, String>> =
        plan.listeners.iter().map(|listener| fit(listener, request)).collect();
    let mut best: Option<(ListenerIndex, &Fit)> = None;
    for (index, fit) in fits.iter().enumerate() {
        if let Ok(fit) = fit
            && best.as_ref().is_none_or(|(_, best)| fit > best)
        {
            best = Some((index, fit));
        }
    }
    let taken = best.map(|(index, _)| index);
    let others = plan.listeners.iter().zip(&fits).enumerate().filter(|(index, _)| Some(*index) != taken);
    let losers = others.map(|(_, (listener, fit))| {
        let why = match fit {
            Err(why) => why.clone(),
            Ok(Fit { host: None, .. }) => format!("does not serve the host {}", request.host),
            Ok(_) => "another listener comes first; name the port to mean this one".to_owned(),
        };
        Loser { name: listener.name.clone(), why }
    });
    (taken, losers.collect())
}

fn fit(listener: &Listener, request: &ExplainRequest) -> Result<Fit, String> {
    let scheme = listener.protocol.word();
    let usual = match listener.protocol {
        Protocol::Http => Some(80),
        Protocol::Https | Protocol::Tls => Some(443),
        Protocol::Tcp => None,
    };
    if !scheme.eq_ignore_ascii_case(&request.scheme) {
        return Err(format!("speaks {scheme}, not {}", request.scheme));
    }
    let has = |port: u16| listener.addresses.iter().any(|address| address.port() == port);
    if let Some(port) = request.port
        && !has(port)
        && !has(0)
    {
        return Err(format!("does not listen on port {port}"));
    }
    let host = with_normal(request.host.as_bytes(), |host| {
        intersect(&[], &listener.hostnames).into_iter().filter(|key| key.has(host)).max()
    });
    Ok(Fit { host, usual_port: usual.is_some_and(has) })
}
