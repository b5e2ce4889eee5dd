//! New versions that take over step by step, on real sockets and in the test's own time: upstreams of a rule, and modules
//! of a plugin.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidegate_testkit::{
    Answer, LogFile, RawClient, ReleaseOrder, ReleaseState, ReleaseUse, ScriptedUpstream, Step, TestGateway,
    fill,
};

const MINUTE: Duration = Duration::from_secs(60);

/// A server that says who it is, and fails as long as a switch is on.
fn server(name: &'static str) -> (ScriptedUpstream, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&fails);
    let upstream = ScriptedUpstream::start(move |_| {
        let status = if switch.load(Ordering::SeqCst) { "500 No" } else { "200 OK" };
        Answer::reply(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{name}", name.len()))
    });
    (upstream, fails)
}

/// A gateway with a release, and the time as its control thread sees it.
struct Site {
    old: ScriptedUpstream,
    new: ScriptedUpstream,
    fails: Arc<AtomicBool>,
    log: LogFile,
    gateway: TestGateway,
    client: RawClient,
    now: Duration,
}

const RELEASE: &str =
    "{ to: new, steps: [10, 50, 100], interval: 1m, minRequests: 10, rollbackOn: { p99OverOld: 0 } }";

impl Site {
    fn new() -> Self {
        let ((old, _), (new, fails)) = (server("old"), server("new"));
        let log = LogFile::default();
        let gateway = TestGateway::start(&Self::yaml((&old, &new), &log, RELEASE, ""));
        let client = RawClient::connect(gateway.address("web"));
        gateway.judge_releases(Duration::ZERO);
        Self { old, new, fails, log, gateway, client, now: Duration::ZERO }
    }

    fn yaml(
        (old, new): (&ScriptedUpstream, &ScriptedUpstream),
        log: &LogFile,
        release: &str,
        more: &str,
    ) -> String {
        fill(
            "
workers: 2
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes:
  - name: shop
    rules:
      - name: all
        forward: [{ upstream: old }, { upstream: new }]
        release: ${release}
${more}
upstreams: { old: { servers: ['${old}'] }, new: { servers: ['${new}'] } }
accessLog: { path: '${log}' }
",
            &[
                ("old", &old.address()),
                ("new", &new.address()),
                ("release", &release),
                ("more", &more),
                ("log", &log.path().display()),
            ],
        )
    }

    fn reload(&self, release: &str, more: &str) {
        self.gateway.reload(&Self::yaml((&self.old, &self.new), &self.log, release, more));
    }

    /// Sends requests; how many the new version answered, and how many failed.
    fn send(&mut self, requests: usize) -> (usize, usize) {
        let (mut new, mut failed) = (0, 0);
        for _ in 0..requests {
            let answer = self.client.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
            new += usize::from(answer.text() == "new");
            failed += usize::from(answer.status != 200);
        }
        (new, failed)
    }

    /// A minute later.
    fn minute(&mut self) -> ReleaseUse {
        self.now += MINUTE;
        self.gateway.judge_releases(self.now);
        self.gateway.release()
    }

    fn state(&self, state: &str) -> f64 {
        self.gateway.metric("tidegate_release_state", &format!("state=\"{state}\""))
    }
}

#[test]
fn a_good_version_is_promoted() {
    let mut site = Site::new();
    let mut all = 0;
    for (requests, expected, then) in [(200, 20, 50.0), (100, 50, 100.0), (50, 50, 100.0)] {
        let (new, failed) = site.send(requests);
        all += new;
        assert!(new.abs_diff(expected) <= 3, "{new} of {requests}");
        assert_eq!(failed, 0);
        let release = site.minute();
        assert_eq!((release.percent, release.id.as_str()), (then, "route/shop/all"));
    }
    assert_eq!(site.gateway.release().state, ReleaseState::Promoted);
    assert_eq!((site.state("promoted"), site.state("running")), (1.0, 0.0));
    site.gateway.wait("the last request to be counted", |gateway| {
        gateway.metric("tidegate_release_requests_total", "arm=\"new\"") == all as f64
    });
    assert_eq!(site.send(20), (20, 0));
    let lines = site.log.lines(2);
    assert!(lines.iter().all(|line| line.contains("\"versions\":\"route/shop/all=")), "{lines:?}");
}

#[test]
fn a_version_that_fails_goes_back_by_itself() {
    let mut site = Site::new();
    site.send(200);
    assert_eq!(site.minute().percent, 50.0);
    site.fails.store(true, Ordering::SeqCst);
    let (_, failed) = site.send(8);
    assert!((3..=5).contains(&failed), "{failed}");
    // It does not wait for the end of the step, nor for as many requests as it takes to go on.
    site.now += Duration::from_secs(1);
    site.gateway.judge_releases(site.now);
    let release = site.gateway.release();
    let ReleaseState::RolledBack(why) = &release.state else { panic!("{release:?}") };
    assert!(why.ends_with("of its requests failed, 5 % are allowed"), "{why}");
    assert_eq!((release.percent, site.state("rolledBack")), (0.0, 1.0));
    assert_eq!(site.send(100), (0, 0), "nobody gets the new version any more");
    // Not by a reload, either, until someone wants it or it is another release.
    site.reload(RELEASE, "      - { name: other, matches: [{ path: { prefix: /x } }], respond: {} }");
    assert_eq!(site.send(50), (0, 0));
    site.fails.store(false, Ordering::SeqCst);
    assert_eq!(site.gateway.steer_release("route/shop/all", ReleaseOrder::Restart, site.now), Ok(()));
    let (new, failed) = site.send(100);
    assert!(new.abs_diff(10) <= 2 && failed == 0, "{new}");
}

#[test]
fn unrelated_reloads_leave_it_where_it_is() {
    let mut site = Site::new();
    site.send(200);
    assert_eq!(site.minute().step, 1);
    site.send(30);
    for number in 0..10 {
        let more = format!(
            "      - {{ name: other, matches: [{{ path: {{ prefix: /{number} }} }}], respond: {{}} }}"
        );
        site.reload(RELEASE, &more);
    }
    let release = site.gateway.release();
    assert_eq!((release.step, release.percent), (1, 50.0));
    assert!(release.new.requests >= 13, "what was counted is still there: {release:?}");
    site.send(30);
    assert_eq!(site.minute().step, 2, "and counts");
    // Another way is another release.
    site.reload("{ to: new, steps: [20, 100], interval: 1m }", "");
    let release = site.gateway.release();
    assert_eq!((release.step, release.percent, release.new.requests), (0, 20.0, 0));
}

/// A rule without a name is called by its place, which changes when others come and go.
#[test]
fn a_release_stays_where_it_is_while_its_rule_moves() {
    let (old, _) = server("old");
    let (new, fails) = server("new");
    let rule = |path: &str| {
        format!(
            "{{ matches: [{{ path: {{ prefix: {path} }} }}], forward: [{{ upstream: old }}, {{ upstream: new }}], release: {RELEASE} }}"
        )
    };
    let yaml = |rules: &[&str]| {
        fill(
            "
workers: 2
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: shop, rules: [${rules}] }]
upstreams: { old: { servers: ['${old}'] }, new: { servers: ['${new}'] } }
",
            &[("rules", &rules.join(", ")), ("old", &old.address()), ("new", &new.address())],
        )
    };
    let (one, two, other) =
        (rule("/one"), rule("/two"), "{ matches: [{ path: { prefix: /x } }], respond: {} }");
    let gateway = TestGateway::start(&yaml(&[&one, &two]));
    gateway.judge_releases(Duration::ZERO);
    let mut client = RawClient::connect(gateway.address("web"));
    let mut send = |path: &str, requests: usize| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n");
        (0..requests).filter(|_| client.exchange(&request).status == 500).count()
    };
    send("/one", 200);
    fails.store(true, Ordering::SeqCst);
    assert!(send("/two", 60) >= 2);
    gateway.judge_releases(MINUTE);
    let releases = || -> Vec<(String, &'static str, f64)> {
        let all = gateway.releases();
        all.iter().map(|release| (release.id.clone(), release.state.word(), release.percent)).collect()
    };
    let shown =
        |of: [(&str, &'static str, f64); 2]| of.map(|(id, word, percent)| (id.to_owned(), word, percent));
    assert_eq!(releases(), shown([("route/shop/0", "running", 50.0), ("route/shop/1", "rolledBack", 0.0)]));
    gateway.reload(&yaml(&[other, &one, &two]));
    assert_eq!(releases(), shown([("route/shop/1", "running", 50.0), ("route/shop/2", "rolledBack", 0.0)]));
    assert_eq!(send("/two", 20), 0);
    let named = two.replacen('{', "{ name: second,", 1);
    gateway.reload(&yaml(&[&named, &one]));
    assert_eq!(
        releases(),
        shown([("route/shop/second", "rolledBack", 0.0), ("route/shop/1", "running", 50.0)])
    );
    assert_eq!(send("/two", 20), 0);
    assert!(send("/one", 20) >= 7, "it goes on, and is steered by its new name");
    let steered = gateway.steer_release("route/shop/1", ReleaseOrder::Rollback, MINUTE);
    assert_eq!((steered, send("/one", 20)), (Ok(()), 0));
}

/// What has no answer yet is in no histogram, and answers that go on for ever are never over.
#[test]
fn a_version_is_judged_by_requests_that_are_not_over() {
    let hangs = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&hangs);
    let old = ScriptedUpstream::plain();
    let new = ScriptedUpstream::start(move |_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nan event";
        let hangs = switch.load(Ordering::SeqCst);
        Answer::steps(if hangs { vec![Step::UntilClosed] } else { vec![Step::send(head), Step::UntilClosed] })
    });
    let log = LogFile::default();
    let release = "{ to: new, steps: [50, 100], interval: 1m, minRequests: 10, rollbackOn: { p99: 10s, p99OverOld: 0 } }";
    let gateway = TestGateway::start(&Site::yaml((&old, &new), &log, release, ""));
    gateway.judge_releases(Duration::ZERO);
    let ask = || {
        let mut client = RawClient::connect(gateway.address("web"));
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        client
    };
    let _streams: Vec<RawClient> = (0..30).map(|_| ask()).collect();
    gateway.wait("all heads", |gateway| {
        gateway.metric("tidegate_release_requests_total", "route/shop/all") == 30.0
    });
    gateway.judge_releases(MINUTE);
    assert_eq!(gateway.release().percent, 100.0, "streams count, though none is over");
    hangs.store(true, Ordering::SeqCst);
    let before = new.requests().len();
    let _waiting: Vec<RawClient> = (0..12).map(|_| ask()).collect();
    new.wait("requests", |all| {
        all.iter().map(|connection| connection.requests.len()).sum::<usize>() == before + 12
    });
    for (seconds, word) in [(1, "running"), (10, "running"), (12, "rolledBack")] {
        gateway.judge_releases(MINUTE + Duration::from_secs(seconds));
        assert_eq!(gateway.release().state.word(), word, "after {seconds} s");
    }
    let ReleaseState::RolledBack(why) = gateway.release().state else { panic!("it is") };
    assert_eq!(why, "12 of its requests have no answer after 10s, 10s is allowed");
}

#[test]
fn orders_are_followed() {
    let mut site = Site::new();
    let steer = |site: &Site, order| site.gateway.steer_release("route/shop/all", order, site.now);
    assert_eq!(steer(&site, ReleaseOrder::Pause), Ok(()));
    site.send(300);
    assert_eq!((site.minute().percent, site.state("paused")), (10.0, 1.0));
    assert_eq!(steer(&site, ReleaseOrder::Promote), Ok(()));
    assert_eq!(site.send(20), (20, 0));
    assert_eq!(steer(&site, ReleaseOrder::Rollback), Ok(()));
    assert_eq!(site.send(20), (0, 0));
    assert!(steer(&site, ReleaseOrder::Pause).is_err());
    let unknown = site.gateway.steer_release("route/shop/none", ReleaseOrder::Pause, site.now);
    assert_eq!(unknown, Err("there is no release \"route/shop/none\"".to_owned()));
}

/// The module sets x-filter to these eight characters.
fn module(mark: &str) -> Vec<u8> {
    fill(include_str!("../guests/mark.wat"), &[("mark", &mark)]).into_bytes()
}

/// A plugin with another version, at a rule that answers by itself.
fn plugin(canary: &str, new: &[u8]) -> (TestGateway, LogFile) {
    let log = LogFile::default();
    let gateway = TestGateway::start_with(
        &plugin_yaml(canary, &log),
        &[("old.wasm", &module("--old---")), ("new.wasm", new)],
    );
    gateway.judge_releases(Duration::ZERO);
    (gateway, log)
}

fn plugin_yaml(canary: &str, log: &LogFile) -> String {
    fill(
        "
workers: 2
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { mark: { module: old.wasm, canary: ${canary} } }
routes: [{ name: r, rules: [{ filters: [{ plugin: mark }], respond: {} }] }]
accessLog: { path: '${log}' }
",
        &[("canary", &canary), ("log", &log.path().display())],
    )
}

fn marks(gateway: &TestGateway, requests: usize, headers: &str) -> Vec<(u16, String)> {
    let mut client = RawClient::connect(gateway.address("web"));
    let request = format!("GET / HTTP/1.1\r\nhost: a.test\r\n{headers}\r\n");
    let mut mark = || {
        let answer = client.exchange(&request);
        (answer.status, answer.header("x-filter").unwrap_or_default().to_owned())
    };
    (0..requests).map(|_| mark()).collect()
}

fn count(marks: &[(u16, String)], mark: &str) -> usize {
    marks.iter().filter(|(_, own)| own == mark).count()
}

#[test]
fn two_versions_of_a_module_run_side_by_side() {
    let (gateway, log) = plugin("{ module: new.wasm, percent: 20 }", &module("--new---"));
    let all = marks(&gateway, 100, "");
    assert!(count(&all, "--new---").abs_diff(20) <= 2, "{all:?}");
    assert_eq!(count(&all, "--old---") + count(&all, "--new---"), 100);
    let modules = gateway.modules();
    assert_eq!(modules.len(), 2, "each has metrics of its own");
    for line in log.lines(100) {
        let version = modules.iter().find(|module| line.contains(module.version()));
        assert!(version.is_some() && line.contains("\"versions\":\"plugin/mark="), "{line}");
    }
    assert_eq!(gateway.metric("tidegate_release_requests_total", "plugin/mark"), 100.0);

    let (gateway, _log) =
        plugin("{ module: new.wasm, percent: 50, stickyBy: { header: x-user } }", &module("--new---"));
    let mut new = 0;
    for user in 0..40 {
        let all = marks(&gateway, 5, &format!("x-user: {user}\r\n"));
        assert!(all.iter().all(|mark| *mark == all[0]), "{user}: {all:?}");
        new += usize::from(all[0].1 == "--new---");
    }
    assert!((10..=30).contains(&new), "{new} of 40 users");
}

#[test]
fn a_module_is_promoted() {
    let canary = "{ module: new.wasm, steps: [20, 100], interval: 1m, minRequests: 10, rollbackOn: { p99OverOld: 0 } }";
    let (gateway, _log) = plugin(canary, &module("--new---"));
    marks(&gateway, 100, "");
    gateway.judge_releases(MINUTE);
    assert_eq!(count(&marks(&gateway, 20, ""), "--new---"), 20);
    gateway.judge_releases(MINUTE * 2);
    assert_eq!(gateway.release().state, ReleaseState::Promoted);
}

/// One that breaks off costs the requests inside it; who comes while it is down passes the version that was there.
#[test]
fn a_module_that_breaks_off_goes_back() {
    let canary = "{ module: new.wasm, percent: 50, rollbackOn: { failures: 0 } }";
    let (gateway, _log) = plugin(canary, include_bytes!("../guests/fault.wat"));
    let all = marks(&gateway, 20, "");
    assert!(count(&all, "one").abs_diff(10) <= 2 && all.iter().all(|(status, _)| *status == 200), "{all:?}");
    gateway.judge_releases(MINUTE);
    assert_eq!(gateway.release().state, ReleaseState::Running);
    let broken: Vec<_> = marks(&gateway, 40, "x-fault: t\r\n");
    let failed = broken.iter().filter(|(status, _)| *status != 200).count();
    // How many instances that is follows from how soon they are started again.
    let traps = gateway.metric("tidegate_plugin_traps_total", "mark");
    assert!(failed >= 1 && failed as f64 == traps, "{traps} instances broke off: {broken:?}");
    gateway.judge_releases(MINUTE);
    let ReleaseState::RolledBack(why) = gateway.release().state else { panic!("{:?}", gateway.release()) };
    assert!(why.starts_with("the module broke off"), "{why}");
    assert!(gateway.metric("tidegate_release_failures_total", "arm=\"new\"") >= 1.0);
    assert_eq!(count(&marks(&gateway, 40, "x-fault: t\r\n"), "--old---"), 40);
}

/// A bound on how often it may break off is one on that, not on how many come until it is started again.
#[test]
fn requests_that_come_while_a_module_is_down_are_no_failures_of_it() {
    let canary = "{ module: new.wasm, percent: 50, rollbackOn: { failures: 3, errorPercent: 100, errorPercentOverOld: 100 } }";
    let log = LogFile::default();
    let gateway = TestGateway::start_with(
        &plugin_yaml(canary, &log).replace("workers: 2", "workers: 1"),
        &[("old.wasm", &module("--old---")), ("new.wasm", include_bytes!("../guests/fault.wat"))],
    );
    gateway.judge_releases(Duration::ZERO);
    let failed = |marks: &[(u16, String)]| marks.iter().filter(|(status, _)| *status != 200).count();
    while failed(&marks(&gateway, 1, "x-fault: t\r\n")) == 0 {}
    // All within the wait, or some of it: they are not broken off in either case.
    assert_eq!(failed(&marks(&gateway, 40, "")), 0);
    assert_eq!(gateway.metric("tidegate_release_failures_total", "arm=\"new\""), 1.0);
    gateway.judge_releases(MINUTE);
    assert_eq!(gateway.release().state, ReleaseState::Running);
}

/// Behind the end of a request, or where the request goes on without it, nobody fails by a break-off; it counts all the same.
#[test]
fn a_module_that_breaks_off_unnoticed_goes_back_too() {
    for (fault, policy) in [("d", ""), ("t", "onFailure: open,")] {
        let log = LogFile::default();
        let yaml = plugin_yaml("{ module: new.wasm, percent: 50, rollbackOn: { failures: 0 } }", &log)
            .replace("workers: 2", "workers: 1")
            .replace("module: old.wasm,", &format!("module: old.wasm, {policy}"));
        let gateway = TestGateway::start_with(
            &yaml,
            &[("old.wasm", &module("--old---")), ("new.wasm", include_bytes!("../guests/fault.wat"))],
        );
        gateway.judge_releases(Duration::ZERO);
        let all = marks(&gateway, 2, &format!("x-fault: {fault}\r\n"));
        assert!(all.iter().all(|(status, _)| *status == 200), "{fault}: {all:?}");
        assert_eq!(gateway.metric("tidegate_plugin_traps_total", "mark"), 1.0, "{fault}");
        marks(&gateway, 40, "");
        assert_eq!(gateway.metric("tidegate_release_failures_total", "arm=\"new\""), 1.0, "{fault}");
        gateway.judge_releases(MINUTE);
        let ReleaseState::RolledBack(why) = gateway.release().state else { panic!("{fault}") };
        assert!(why.starts_with("the module broke off"), "{why}");
    }
}

#[test]
fn a_module_that_does_not_load_never_touches_the_one_that_runs() {
    let canary = "{ module: new.wasm, percent: 50 }";
    let (gateway, log) = plugin(canary, b"no module at all");
    assert_eq!(count(&marks(&gateway, 50, ""), "--old---"), 50);
    assert_eq!((gateway.release().percent, gateway.release().loaded), (0.0, false));
    assert_eq!(gateway.metric("tidegate_release_share", "plugin/mark"), 0.0);
    // By a reload it comes, and goes again.
    gateway.put_file("new.wasm", &module("--new---"));
    gateway.reload(&plugin_yaml(canary, &log));
    assert!(count(&marks(&gateway, 50, ""), "--new---").abs_diff(25) <= 2);
    assert_eq!((gateway.release().percent, gateway.release().loaded), (50.0, true));
    gateway.put_file("new.wasm", b"no module at all");
    gateway.reload(&plugin_yaml(canary, &log));
    assert_eq!(count(&marks(&gateway, 50, ""), "--old---"), 50);
}

/// The example, with the test's servers in place of its own.
#[test]
fn the_example_runs() {
    let ((one, _), (two, fails), (three, _)) = (server("old"), server("new"), server("after"));
    let mut yaml = include_str!("../../../../examples/release/tidegate.yaml").to_owned();
    for (port, upstream) in [("3001", &one), ("3002", &two), ("3003", &three)] {
        yaml = yaml.replace(&format!("[127.0.0.1:{port}]"), &format!("['{}']", upstream.address()));
    }
    for port in ["8080", "9900", "3001", "3002", "3003"] {
        yaml = yaml.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
    }
    // How long answers take here is the machine's doing.
    yaml = yaml.replace("errorPercent: 2, p99: 500ms", "errorPercent: 2, p99OverOld: 0");
    let gateway = TestGateway::start(&yaml);
    gateway.judge_releases(Duration::ZERO);
    let mut client = RawClient::connect(gateway.address("web"));
    let mut new = |requests: usize| {
        let request = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";
        (0..requests).filter(|_| client.exchange(request).text() == "new").count()
    };
    assert!(new(1100).abs_diff(55) <= 3);
    gateway.judge_releases(MINUTE / 2);
    assert_eq!(gateway.release().percent, 25.0);
    gateway.wait("the copies", |gateway| gateway.metric("tidegate_mirror_same_total", "shop-v3") >= 108.0);
    fails.store(true, Ordering::SeqCst);
    new(20);
    gateway.judge_releases(MINUTE);
    assert!(matches!(gateway.release().state, ReleaseState::RolledBack(_)));
    assert_eq!(new(20), 0);
}
