//! Mirrors that take no bytes hold a bounded part of the bodies, however many requests there are.

use tidegate_testkit::{Answer, RawClient, ScriptedUpstream, Step, TestGateway, fill};

/// Resident bytes of this process: servers, clients and the gateway.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel says it");
    let kibibytes = line.split_whitespace().nth(1).and_then(|word| word.parse::<usize>().ok());
    kibibytes.expect("a number") << 10
}

#[test]
fn many_slow_copies_hold_little() {
    let main = ScriptedUpstream::plain();
    // Two mirrors: one reads nothing at all, the other one does not answer.
    let deaf = ScriptedUpstream::start(|_| Answer::steps([Step::UntilClosed]));
    let mute = ScriptedUpstream::start(|_| Answer::steps([Step::ReadBody, Step::UntilClosed]));
    let gateway = TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes:
  - name: shop
    rules:
      - forward: [{ upstream: main }]
        mirror:
          - { upstream: deaf, limit: 16, buffer: 256KiB, timeout: 60s }
          - { upstream: mute, limit: 16, buffer: 256KiB, timeout: 60s }
upstreams:
  main: { servers: ['${main}'] }
  deaf: { servers: ['${deaf}'] }
  mute: { servers: ['${mute}'] }
",
        &[("main", &main.address()), ("deaf", &deaf.address()), ("mute", &mute.address())],
    ));
    let piece = vec![b'x'; 64 << 10];
    let mut client = RawClient::connect(gateway.address("web"));
    let mut post = |pieces: usize| {
        let length = piece.len() * pieces;
        client.send(format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n"));
        (0..pieces).for_each(|_| assert!(client.send(&piece)));
        assert_eq!(client.response("POST").expect("an answer").status, 200);
        // What servers of a test have seen is kept by them.
        main.forget();
        mute.forget();
    };
    post(2);
    let before = resident();
    // 25 MB in bodies that a copy may be behind, 480 MB in longer ones.
    (0..200).for_each(|_| post(2));
    (0..60).for_each(|_| post(128));
    let grown = resident().saturating_sub(before);
    let held = gateway.metric("tidegate_mirror_active", "");
    assert!(held <= 32.0, "{held} copies");
    let given_up =
        gateway.metric("tidegate_mirror_skipped_total", "") + gateway.metric("tidegate_mirror_cut_total", "");
    assert!(given_up >= 200.0, "{given_up}");
    eprintln!("{held} copies on their way, {} KiB more than before", grown >> 10);
    // Two mirrors of 16 copies of 256 KiB are 8 MiB; an allocator keeps some more.
    assert!(grown < 40 << 20, "{grown} bytes more");
}
