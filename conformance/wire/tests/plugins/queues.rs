//! Queues join plugins on whatever workers they are.

use tidegate_testkit::{RawClient, ScriptedUpstream, TestGateway, fill};

/// Three workers that put entries, one instance that takes them.
fn gateway(upstream: &ScriptedUpstream) -> (TestGateway, String) {
    let yaml = fill(
        "
workers: 3
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  sender: { module: sender.wasm }
  receiver: { module: receiver.wasm, background: true, capabilities: { upstreams: [up] } }
routes: [{ name: r, rules: [{ filters: [{ plugin: sender }], respond: { status: 200 } }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address())],
    );
    let sender: &[u8] = include_bytes!("../guests/sender.wat");
    let receiver: &[u8] = include_bytes!("../guests/receiver.wat");
    (TestGateway::start_with(&yaml, &[("sender.wasm", sender), ("receiver.wasm", receiver)]), yaml)
}

/// Connections of their own, which the system spreads over the workers.
fn send(gateway: &TestGateway, count: usize) {
    for _ in 0..count {
        let mut client = RawClient::connect(gateway.address("web"));
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").status, 200);
    }
}

fn arrived(upstream: &ScriptedUpstream, count: usize) {
    upstream.wait("one call for each entry", |connections| {
        connections.iter().map(|connection| connection.requests.len()).sum::<usize>() == count
    });
}

#[test]
fn each_entry_reaches_the_plugin_that_registered_the_queue() {
    let upstream = ScriptedUpstream::plain();
    let (gateway, _) = gateway(&upstream);
    send(&gateway, 60);
    arrived(&upstream, 60);
}

#[test]
fn a_new_instance_takes_over() {
    let upstream = ScriptedUpstream::plain();
    let (gateway, yaml) = gateway(&upstream);
    send(&gateway, 10);
    arrived(&upstream, 10);
    gateway.reload(&yaml.replace("background: true,", "background: true, config: new,"));
    send(&gateway, 10);
    arrived(&upstream, 20);
}

/// The sender knows the queue by the VM's id of the plugin that registers it, as filters from other gateways do.
#[test]
fn a_queue_is_found_by_its_vm() {
    let upstream = ScriptedUpstream::plain();
    let (gateway, yaml) = gateway(&upstream);
    send(&gateway, 1);
    arrived(&upstream, 1);
    gateway.reload(
        &yaml.replace("receiver: { module: receiver.wasm,", "jobs: { module: receiver.wasm, vmId: receiver,"),
    );
    send(&gateway, 10);
    arrived(&upstream, 11);
}
