//! What Consul's answers say: `/v1/health/service/…` and `/v1/catalog/service/…`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::discover::source::Found;

/// One of `/v1/health/service/…`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
    #[serde(default)]
    checks: Option<Vec<HealthCheck>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(default)]
    address: String,
    port: u32,
    #[serde(default)]
    weights: Option<Weights>,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize, Clone, Copy)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u32,
    warning: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthCheck {
    status: String,
}

/// One of `/v1/catalog/service/…`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Registration {
    address: String,
    #[serde(default)]
    service_address: String,
    service_port: u32,
    #[serde(default)]
    service_weights: Option<Weights>,
    #[serde(default)]
    service_meta: Option<BTreeMap<String, String>>,
}

/// The instances of an answer about health.
pub(super) fn healthy(body: &[u8]) -> Result<Vec<Found>, String> {
    let entries: Vec<Entry> = read(body)?;
    let servers = entries.into_iter().map(|entry| {
        let warns = entry.checks.iter().flatten().any(|check| check.status != "passing");
        let weights = entry.service.weights;
        let weight = weights.map_or(1, |weights| if warns { weights.warning } else { weights.passing });
        let found = server(&entry.service.address, &entry.node.address, entry.service.port, weight)?;
        Ok(labelled(found, entry.service.meta))
    });
    collect(servers)
}

/// The instances of an answer of the catalog.
pub(super) fn registered(body: &[u8]) -> Result<Vec<Found>, String> {
    let entries: Vec<Registration> = read(body)?;
    let servers = entries.into_iter().map(|entry| {
        let weight = entry.service_weights.map_or(1, |weights| weights.passing);
        let found = server(&entry.service_address, &entry.address, entry.service_port, weight)?;
        Ok(labelled(found, entry.service_meta))
    });
    collect(servers)
}

fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<Vec<T>, String> {
    serde_json::from_slice(body).map_err(|error| format!("the answer is not what Consul answers: {error}"))
}

/// What an instance says of itself are its labels; `zone` is where it stands.
fn labelled(found: Found, meta: Option<BTreeMap<String, String>>) -> Found {
    let labels = meta.unwrap_or_default();
    Found { zone: labels.get("zone").cloned(), labels, ..found }
}

/// An instance without an address of its own is at its node's.
fn server(own: &str, node: &str, port: u32, weight: u32) -> Result<Found, String> {
    let host = if own.is_empty() { node } else { own };
    if host.is_empty() {
        return Err("an instance has neither an address nor a node with one".to_owned());
    }
    let port = u16::try_from(port).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| format!("the instance at {host} is registered without a port"))?;
    let address = match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{}:{port}", host.to_ascii_lowercase()),
    };
    Ok(Found { weight, ..Found::new(address) })
}

/// In one order, so that the same answer in another order is not a change.
fn collect(servers: impl Iterator<Item = Result<Found, String>>) -> Result<Vec<Found>, String> {
    let mut servers = servers.collect::<Result<Vec<_>, _>>()?;
    servers.sort();
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Consul 1.20 answers, with fields that are not looked at.
    const HEALTH: &str = r#"[
      {"Node":{"ID":"f7d3","Node":"n1","Address":"10.1.10.12","Datacenter":"dc1","TaggedAddresses":{"lan":"10.1.10.12"},
        "Meta":{"consul-network-segment":""},"CreateIndex":13,"ModifyIndex":17},
       "Service":{"ID":"orders-1","Service":"orders","Tags":["v2"],"Address":"","Meta":{"version":"2"},"Port":8000,
        "Weights":{"Passing":10,"Warning":1},"EnableTagOverride":false,"Proxy":{"Mode":""},"Connect":{},
        "CreateIndex":21,"ModifyIndex":21},
       "Checks":[{"Node":"n1","CheckID":"serfHealth","Status":"passing","Output":"Agent alive and reachable"},
        {"Node":"n1","CheckID":"service:orders-1","Status":"warning","Output":""}]},
      {"Node":{"Node":"n2","Address":"10.1.10.13"},
       "Service":{"ID":"orders-2","Service":"orders","Address":"2001:db8::7","Port":8001,
        "Weights":{"Passing":5,"Warning":1}},
       "Checks":[{"CheckID":"serfHealth","Status":"passing"}]},
      {"Node":{"Node":"n3","Address":"10.1.10.14"},
       "Service":{"ID":"orders-3","Service":"orders","Address":"Orders-3.internal","Port":8002},"Checks":null}]"#;

    fn shown(servers: Vec<Found>) -> Vec<(String, u32)> {
        servers.into_iter().map(|server| (server.address, server.weight)).collect()
    }

    #[test]
    fn instances_have_their_own_address_or_their_nodes() {
        let servers = healthy(HEALTH.as_bytes()).expect("an answer of Consul");
        let expected = [("10.1.10.12:8000", 1), ("[2001:db8::7]:8001", 5), ("orders-3.internal:8002", 1)];
        assert_eq!(shown(servers), expected.map(|(address, weight)| (address.to_owned(), weight)));
    }

    #[test]
    fn the_catalog_has_another_shape() {
        let body = r#"[{"ID":"40e4","Node":"foobar","Address":"192.168.10.10","Datacenter":"dc1",
            "ServiceAddress":"","ServiceID":"32a2","ServiceName":"orders","ServicePort":5000,
            "ServiceMeta":{"m":"v"},"ServiceTags":["v2"],"ServiceWeights":{"Passing":3,"Warning":1}}]"#;
        let servers = registered(body.as_bytes()).expect("an answer of the catalog");
        assert_eq!(shown(servers), [("192.168.10.10:5000".to_owned(), 3)]);
        assert_eq!(registered(b"[]"), Ok(Vec::new()));
    }

    #[test]
    fn what_consul_does_not_say_is_refused() {
        for body in ["", "{}", "[1]", r#"[{"Node":{"Address":""},"Service":{"Port":1}}]"#] {
            assert!(healthy(body.as_bytes()).is_err(), "{body}");
        }
        let without_port = r#"[{"Node":{"Address":"10.0.0.1"},"Service":{"Port":0}}]"#;
        let why = healthy(without_port.as_bytes()).expect_err("no port");
        assert_eq!(why, "the instance at 10.0.0.1 is registered without a port");
    }
}
