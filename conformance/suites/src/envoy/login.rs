//! A login at an OpenID provider by the first-party filter `auth`: a walk of exchanges each of which needs what the one
//! before has brought, so no list of cases. What is random in the answers is left out of the comparison.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tidegate_testkit::provider::{Provider, parse};
use tidegate_testkit::{RawClient, Response};

use super::cases::{Case, get};
use super::compare::{self, Verdict};
use super::config::LOGIN;
use super::observe::{Observation, Outcome, received};
use super::peer::{Behind, Kind, Peer, Programs};

/// Whether a walk has steps with this text in their names.
pub(crate) fn is_wanted(only: &str) -> bool {
    only.is_empty() || only.starts_with("login")
}

/// Logs in at both; what came of each step.
pub(crate) fn compare(programs: &Programs) -> Vec<(Case, Verdict)> {
    let through = |kind| Walk::through(&mut Peer::new(kind, programs, vec![LOGIN.to_owned()]));
    let (theirs, ours) = (through(Kind::Envoy), through(Kind::Tidegate));
    let mut verdicts = Vec::new();
    for ((name, theirs), (_, ours)) in theirs.iter().zip(&ours) {
        let (name, wanted) = name;
        let case = Case { name: format!("login, {name}"), listener: LOGIN.to_owned(), ..get("", "") };
        let verdict = match compare::judge(&case, theirs, ours) {
            // A login that fails in both would be the same all the way.
            Verdict::Same if ours.client.status != Some(*wanted) => {
                Verdict::Differs(vec![format!("both: {:?}, wanted: {wanted}", ours.client)])
            }
            verdict => verdict,
        };
        verdicts.push((case, verdict));
    }
    verdicts
}

/// Keeps cookies as a browser does, as far as one host goes.
#[derive(Clone, Default)]
struct Browser {
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn header(&self) -> String {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() { String::new() } else { format!("cookie: {}\r\n", pairs.join("; ")) }
    }

    fn take(&mut self, line: &str) {
        let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match attributes.contains("Max-Age=0;") {
            true => self.cookies.remove(name),
            false => self.cookies.insert(name.to_owned(), value.to_owned()),
        };
    }
}

/// A step's name, and the status that it must have.
type Step = (&'static str, u16);

/// The steps so far at one of the two.
struct Walk<'a> {
    behind: &'a Behind,
    address: SocketAddr,
    steps: Vec<(Step, Observation)>,
}

const PAGE: &str = "accept: text/html\r\n";
const SCRIPT: &str = "accept: */*\r\n";
const CALLBACK: &str = "/oauth2/callback";

impl Walk<'_> {
    fn through(peer: &mut Peer<'_>) -> Vec<(Step, Observation)> {
        let address = peer.address(LOGIN);
        let mut walk = Walk { behind: &peer.behind, address, steps: Vec::new() };
        walk.in_and_out();
        walk.tampered();
        walk.unproven();
        walk.refreshed();
        walk.steps
    }

    fn in_and_out(&mut self) {
        let mut ann = Browser::default();
        self.ask(("a script without a session", 401), &mut ann, "/api", SCRIPT);
        let begun = self.ask(("a page without a session", 302), &mut ann, "/orders?x=1", PAGE);
        let back = self.at_the_provider(&begun);
        let kept = ann.clone();
        self.ask(("back with the code", 303), &mut ann, &back, PAGE);
        self.ask(("the page", 200), &mut ann, "/orders?x=1", "accept: text/html\r\nx-t-user: root\r\n");
        self.ask(("a script with the session", 200), &mut ann, "/api", "accept: */*\r\nx-t-email: root\r\n");
        self.ask(("the code again", 400), &mut kept.clone(), &back, PAGE);
        let mut changed = ann.clone();
        changed.cookies.values_mut().for_each(|value| value.replace_range(30..31, "."));
        self.ask(("a changed cookie, a script", 401), &mut changed.clone(), "/", SCRIPT);
        self.ask(("a changed cookie, a page", 302), &mut changed, "/", PAGE);
        self.ask(("logout", 303), &mut ann, "/oauth2/logout", PAGE);
        self.ask(("a page after the logout", 302), &mut ann, "/", PAGE);
        self.ask(("logout without a session", 303), &mut Browser::default(), "/oauth2/logout", PAGE);
        self.ask(("login at will", 302), &mut Browser::default(), "/oauth2/login?to=/cart", PAGE);
        self.ask(
            ("login at will, to elsewhere", 302),
            &mut Browser::default(),
            "/oauth2/login?to=//evil.test",
            PAGE,
        );
    }

    fn tampered(&mut self) {
        let mut bob = Browser::default();
        let begun = self.ask(("a second login", 302), &mut bob, "/", PAGE);
        let back = self.at_the_provider(&begun);
        let state =
            parse(back.split_once('?').map_or("", |(_, query)| query)).remove("state").unwrap_or_default();
        let turned = back.replace(&state, &state.chars().rev().collect::<String>());
        self.ask(("another browser", 400), &mut Browser::default(), &back, PAGE);
        self.ask(("another state", 400), &mut bob.clone(), &turned, PAGE);
        self.ask(("a guessed code", 400), &mut bob.clone(), &back.replace("code=code", "code=guess"), PAGE);
        self.ask(
            ("another issuer", 400),
            &mut bob.clone(),
            &format!("{back}&iss=http%3A%2F%2Fevil.test"),
            PAGE,
        );
        let refused = format!("{CALLBACK}?error=access_denied&error_description=no+%3Cb%3E&state={state}");
        self.ask(("refused by the provider", 403), &mut bob.clone(), &refused, PAGE);
        self.ask(("nothing came back", 400), &mut bob.clone(), CALLBACK, PAGE);
        let mut tampered = bob.clone();
        tampered.cookies.values_mut().for_each(|value| value.replace_range(40..44, "AAAA"));
        self.ask(("the attempt's cookie changed", 400), &mut tampered, &back, PAGE);
        self.ask(("and as it should be", 303), &mut bob, &back, PAGE);
    }

    fn unproven(&mut self) {
        let provider = &self.behind.provider;
        provider.behaviour().nonce = Some("of-another-login".to_owned());
        self.log_in(("tokens of another login", 401));
        provider.behaviour().nonce = None;
        provider.behaviour().foreign_key = true;
        self.log_in(("tokens signed by another", 401));
        provider.behaviour().foreign_key = false;
        provider.behaviour().token_status = Some(503);
        self.log_in(("the provider is overloaded", 503));
        provider.behaviour().token_status = None;
        provider.behaviour().padding = 5000;
        let mut browser = self.log_in(("a long session", 303));
        provider.behaviour().padding = 0;
        self.ask(("a page of a long session", 200), &mut browser, "/", PAGE);
        self.ask(("logout of a long session", 303), &mut browser, "/oauth2/logout", PAGE);
    }

    fn refreshed(&mut self) {
        let provider = &self.behind.provider;
        // Tokens that end sooner than the configuration refreshes them.
        provider.behaviour().expires_in = 20;
        let mut browser = self.log_in(("tokens that end soon", 303));
        provider.behaviour().expires_in = 3600;
        let kept = browser.clone();
        self.ask(("refreshed", 200), &mut browser, "/", SCRIPT);
        self.ask(("the old cookie meanwhile", 200), &mut kept.clone(), "/", SCRIPT);
        self.ask(("the new cookie", 200), &mut browser, "/", SCRIPT);
    }

    /// A whole login; the step of this name is the way back from the provider.
    fn log_in(&mut self, step: Step) -> Browser {
        let mut browser = Browser::default();
        let begun = self.ask(("a login begins", 302), &mut browser, "/", PAGE);
        let back = self.at_the_provider(&begun);
        self.ask(step, &mut browser, &back, PAGE);
        browser
    }

    /// Follows the redirect to the provider; the path to which it sends the browser back.
    fn at_the_provider(&self, begun: &Option<Response>) -> String {
        let to = begun.as_ref().and_then(|response| response.header("location")).unwrap_or_default();
        let path = to.strip_prefix(Provider::ORIGIN).unwrap_or("/");
        let mut client = RawClient::connect(self.behind.provider.address());
        let answer = client.exchange(format!("GET {path} HTTP/1.1\r\nhost: idp.test\r\n\r\n"));
        let back = answer.header("location").and_then(|to| to.strip_prefix("http://shop.test"));
        back.unwrap_or("/the-provider-did-not-send-back").to_owned()
    }

    fn ask(&mut self, step: Step, browser: &mut Browser, path: &str, fields: &str) -> Option<Response> {
        self.behind.upstream.forget();
        let mut client = RawClient::connect(self.address);
        client.send(format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n{fields}{}\r\n", browser.header()));
        let answer = client.response("GET").ok();
        let client = match &answer {
            Some(response) => {
                response.headers.all("set-cookie").into_iter().for_each(|line| browser.take(line));
                outcome(response)
            }
            None => Outcome { broken: true, ..Outcome::default() },
        };
        let upstream = self.behind.upstream.requests().iter().map(received).collect();
        self.steps.push((step, Observation { client, upstream, ..Observation::default() }));
        answer
    }
}

/// An answer without what is random in it.
fn outcome(response: &Response) -> Outcome {
    let mut headers = Vec::new();
    for (name, value) in &response.headers.0 {
        match name.as_str() {
            "location" => headers.push(format!("location: {}", without_random(value))),
            "set-cookie" => headers.push(format!("set-cookie: {}", without_value(value))),
            "cache-control" | "content-type" | "www-authenticate" => headers.push(format!("{name}: {value}")),
            _ => {}
        }
    }
    // Those of one name stay in their order.
    headers.sort_by_key(|line: &String| line.split(':').next().map(str::to_owned));
    Outcome {
        status: Some(response.status),
        headers,
        body: response.text(),
        trailers: Vec::new(),
        broken: false,
    }
}

/// An address whose random parameters are dots, as many as there were characters: they are always as long.
fn without_random(location: &str) -> String {
    let Some((place, query)) = location.split_once('?') else { return location.to_owned() };
    let random = ["state", "nonce", "code_challenge", "id_token_hint"];
    let parameter = |pair: &str| match pair.split_once('=') {
        Some((name, value)) if random.contains(&name) => format!("{name}={}", ".".repeat(value.len())),
        _ => pair.to_owned(),
    };
    format!("{place}?{}", query.split('&').map(parameter).collect::<Vec<_>>().join("&"))
}

/// A cookie whose value is the number of its characters; the letters of a login's name are dots, and how long it stays is
/// left out where it does.
fn without_value(line: &str) -> String {
    let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let name = match name.split_once("-login-") {
        Some((name, letters)) => format!("{name}-login-{}", ".".repeat(letters.len())),
        None => name.to_owned(),
    };
    let attribute = |text: &str| match text.trim().strip_prefix("Max-Age=") {
        Some("0") | None => text.to_owned(),
        Some(_) => " Max-Age=...".to_owned(),
    };
    let attributes: Vec<String> = attributes.split(';').map(attribute).collect();
    format!("{name}={};{}", value.len(), attributes.join(";"))
}
