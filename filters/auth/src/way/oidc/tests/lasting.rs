//! How long sessions last, and what keeps them.

use std::sync::Mutex;
use std::time::Duration;

use super::*;

/// With refresh tokens `r0`, `r1`, …, each good once in a world.
fn refreshing(config: &str) -> Gateway<Auth> {
    with_tokens(config, |form| {
        let mut answer = tokens(form);
        match find(form, "refresh_token") {
            None => answer["refresh_token"] = json!("r0"),
            Some(token) => {
                let number: u32 = token.trim_start_matches('r').parse().unwrap_or(99);
                answer["refresh_token"] = json!(format!("r{}", number + 1));
                let mut claims = claims("");
                claims["email"] = json!(format!("{number}@a.example"));
                claims["nonce"] = Value::Null;
                answer["id_token"] = json!(id_token(claims));
            }
        }
        answer
    })
}

fn passes(gateway: &Gateway<Auth>, cookie: &str) -> Answer {
    gateway.send(page("/").header("cookie", cookie))
}

fn email(answer: &Answer) -> Option<&str> {
    answer.upstream().and_then(|seen| seen.header("x-email"))
}

#[test]
fn a_session_ends_with_its_tokens_without_a_refresh_token() {
    let gateway = with_tokens(CONFIG, tokens);
    let cookie = logged_in(&gateway);
    gateway.advance(Duration::from_secs(298));
    assert_eq!(passes(&gateway, &cookie).status(), 200);
    gateway.advance(Duration::from_secs(2));
    assert_eq!(passes(&gateway, &cookie).status(), 302);
}

#[test]
fn tokens_are_refreshed_before_they_end() {
    let gateway = refreshing(CONFIG);
    let first = logged_in(&gateway);
    gateway.advance(Duration::from_secs(260));
    let early = passes(&gateway, &first);
    assert_eq!((early.calls().len(), email(&early)), (0, Some("ann@a.example")));
    gateway.advance(Duration::from_secs(11));
    let answer = passes(&gateway, &first);
    let [call] = answer.calls() else { panic!("{:?}", answer.calls()) };
    let form = String::from_utf8_lossy(call.body()).into_owned();
    assert_eq!(form, "grant_type=refresh_token&refresh_token=r0");
    assert_eq!((answer.status(), email(&answer)), (200, Some("0@a.example")), "its new claims count at once");
    let second = cookies(&answer);

    // A request that was on its way with the old cookie gets the same tokens: the provider is not asked again.
    let late = passes(&gateway, &first);
    assert_eq!((late.calls().len(), email(&late)), (0, Some("0@a.example")));
    assert_eq!(cookies(&late), second);
    let with_new = passes(&gateway, &second);
    assert_eq!(
        (with_new.calls().len(), email(&with_new), cookies(&with_new)),
        (0, Some("0@a.example"), String::new())
    );

    gateway.advance(Duration::from_secs(280));
    let again = passes(&gateway, &second);
    assert_eq!((again.calls().len(), email(&again)), (1, Some("1@a.example")));
}

#[test]
fn a_session_that_the_provider_ends_is_over() {
    let gateway = refreshing(CONFIG);
    let cookie = logged_in(&gateway);
    gateway.on_call("idp", provider(|_| Reply::new(400).body(r#"{"error":"invalid_grant"}"#)));
    gateway.advance(Duration::from_secs(280));
    let answer = passes(&gateway, &cookie);
    assert_eq!(answer.status(), 302);
    let removed = answer.headers().get_all("set-cookie").filter_map(|line| line.to_str());
    assert_eq!(removed.filter(|line| line.starts_with("__Host-tidegate-session=; ")).count(), 1);
    assert_eq!(gateway.send(get("/").header("cookie", cookie)).status(), 401);
}

#[test]
fn tokens_serve_to_their_end_while_the_provider_is_away() {
    let gateway = refreshing(CONFIG);
    let cookie = logged_in(&gateway);
    gateway.on_call("idp", provider(|_| Reply::new(500)));
    gateway.advance(Duration::from_secs(280));
    assert_eq!(passes(&gateway, &cookie).status(), 200);
    gateway.advance(Duration::from_secs(25));
    let answer = passes(&gateway, &cookie);
    assert_eq!((answer.status(), answer.details()), (503, "oidc_provider_away"));
    let at_once = passes(&gateway, &cookie);
    assert_eq!((at_once.status(), at_once.calls().len()), (503, 0), "it is not asked by every request");
    gateway.on_call(
        "idp",
        provider(|call| Reply::new(200).body(tokens(&String::from_utf8_lossy(call.body())).to_string())),
    );
    gateway.advance(Duration::from_secs(2));
    assert_eq!(passes(&gateway, &cookie).status(), 200);
}

#[test]
fn a_refreshed_token_is_of_the_same_user() {
    let gateway = refreshing(CONFIG);
    let cookie = logged_in(&gateway);
    gateway.on_call(
        "idp",
        provider(|_| {
            let mut claims = claims("");
            claims["sub"] = json!("bob");
            Reply::new(200).body(json!({ "id_token": id_token(claims), "expires_in": 300 }).to_string())
        }),
    );
    gateway.advance(Duration::from_secs(301));
    assert_eq!(passes(&gateway, &cookie).status(), 503);
}

#[test]
fn a_session_that_is_not_used_ends() {
    let config = CONFIG.replace(r#""upstream""#, r#""idle": "2m", "lifetime": "4m", "upstream""#);
    let gateway = with_tokens(&config, tokens);
    let first = logged_in(&gateway);
    gateway.advance(Duration::from_secs(5));
    assert_eq!(cookies(&passes(&gateway, &first)), "", "a cookie is not written all the time");
    gateway.advance(Duration::from_secs(100));
    let used = passes(&gateway, &first);
    let second = cookies(&used);
    assert!(!second.is_empty() && second != first);
    assert!(used.header("set-cookie").is_some_and(|line| line.contains("Max-Age=135;")), "{used:?}");
    gateway.advance(Duration::from_secs(15));
    assert_eq!(passes(&gateway, &first).status(), 302, "the old cookie was not used for two minutes");
    let used = passes(&gateway, &second);
    assert_eq!(used.status(), 200);
    gateway.advance(Duration::from_secs(100));
    let third = cookies(&passes(&gateway, &second));
    gateway.advance(Duration::from_secs(19));
    assert_eq!(passes(&gateway, &third).status(), 200);
    gateway.advance(Duration::from_secs(1));
    assert_eq!(passes(&gateway, &third).status(), 302, "its lifetime is over");
}

#[test]
fn cookies_that_were_changed_are_no_session() {
    let gateway = with_tokens(CONFIG, tokens);
    let cookie = logged_in(&gateway);
    let (name, value) = cookie.split_once('=').expect("a cookie");
    let at = |at: usize| {
        let mut value = value.as_bytes().to_vec();
        value[at] = if value[at] == b'A' { b'B' } else { b'A' };
        format!("{name}={}", String::from_utf8_lossy(&value))
    };
    let begun = gateway.send(page("/"));
    let (_, attempt) =
        cookies(&begun).split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a cookie");
    for changed in [
        at(0),
        at(33),
        at(value.len() - 2),
        format!("{name}={}", &value[..value.len() - 4]),
        format!("{name}={value}AAAA"),
        format!("{name}=2.{value}; {name}-1=AAAA"),
        format!("{name}={attempt}"),
    ] {
        assert_eq!(passes(&gateway, &changed).status(), 302, "{changed}");
    }
    assert_eq!(passes(&gateway, &cookie).status(), 200);
}

#[test]
fn keys_are_exchanged_while_sessions_go_on() {
    let old = with_tokens(CONFIG, tokens);
    let cookie = logged_in(&old);
    let (new_key, old_key) = ("a new key, which has enough letters too", "0123456789abcdef0123456789abcdef");
    let both = with_tokens(&CONFIG.replace(old_key, &format!("{new_key}\", \"{old_key}")), tokens);
    assert_eq!(passes(&both, &cookie).status(), 200);
    let new = with_tokens(&CONFIG.replace(old_key, new_key), tokens);
    assert_eq!(passes(&new, &cookie).status(), 302);
    assert_eq!(passes(&new, &logged_in(&both)).status(), 200, "the first key encrypts");
    let other_client = with_tokens(&CONFIG.replace("\"gate\"", "\"other\""), tokens);
    assert_eq!(passes(&other_client, &cookie).status(), 302, "a session is for one client");
}

#[test]
fn long_sessions_take_several_cookies_and_have_a_limit() {
    let padded = |letters: usize| {
        with_tokens(CONFIG, move |form| {
            let mut answer = tokens(form);
            let mut claims = claims(&find(form, "code").unwrap_or_default());
            claims["padding"] = json!("x".repeat(letters));
            answer["id_token"] = json!(id_token(claims));
            answer
        })
    };
    let gateway = padded(2500);
    let cookie = logged_in(&gateway);
    assert_eq!(cookie.matches("; ").count(), 1, "two cookies");
    let answer = passes(&gateway, &cookie);
    let seen = answer.upstream().expect("it passes");
    assert_eq!((seen.header("x-user"), seen.header("cookie")), (Some("ann"), None));
    let (first, _) = cookie.split_once("; ").expect("two cookies");
    assert_eq!(passes(&gateway, first).status(), 302, "a half is no session");

    let gateway = padded(12_000);
    let begun = gateway.send(page("/"));
    let back = gateway.send(page(&callback(&begun)).header("cookie", cookies(&begun)));
    assert_eq!((back.status(), back.details()), (500, "oidc_failed"));
}

#[test]
fn a_logout_ends_it_here_and_there() {
    let config = CONFIG.replace(r#""upstream""#, r#""afterLogout": "/bye", "upstream""#);
    let gateway = with_tokens(&config, tokens);
    let cookie = logged_in(&gateway);
    let out = gateway.send(page("/oauth2/logout").header("cookie", cookie));
    let location = out.header("location").expect("a redirect");
    assert!(location.starts_with("https://idp.example/out?id_token_hint=ey"), "{location}");
    assert_eq!(sent(&out, "client_id"), "gate");
    assert_eq!(sent(&out, "post_logout_redirect_uri"), "http://example.com/bye");
    let lines: Vec<&str> = out.headers().get_all("set-cookie").filter_map(|line| line.to_str()).collect();
    assert_eq!(lines, ["__Host-tidegate-session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"]);

    let nobody = gateway.send(page("/oauth2/logout"));
    assert_eq!((nobody.status(), nobody.header("location")), (303, Some("http://example.com/bye")));
    let plain = with_tokens(CONFIG, tokens).send(page("/oauth2/logout"));
    assert_eq!((plain.status(), plain.text().as_str()), (200, "you are logged out\n"));
}

#[test]
fn the_last_discovery_document_serves_while_the_provider_is_away() {
    static SEEN: Mutex<usize> = Mutex::new(0);
    let gateway = with_tokens(CONFIG, tokens);
    assert_eq!(gateway.send(page("/")).calls().len(), 1);
    assert_eq!(gateway.send(page("/")).calls().len(), 0, "it is remembered");
    gateway.on_call("idp", |_| {
        *SEEN.lock().expect("nobody panics with it") += 1;
        Reply::new(500)
    });
    gateway.advance(Duration::from_secs(3601));
    assert_eq!(gateway.send(page("/")).status(), 302);
    assert_eq!(gateway.send(page("/")).calls().len(), 0, "nor is it asked all the time");
    assert!(*SEEN.lock().expect("nobody panics with it") > 0);
}
