//! A little OpenID provider on a real socket: discovery, authorization, tokens, keys, logout. It checks what a provider
//! must (client, redirect address, PKCE, one use of each code and refresh token) and signs with a real key.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::client::PATIENCE;
use crate::message::{read_body, read_request_head};
use crate::wire::{Transport, Wire};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The name by which it knows the gateway.
pub const CLIENT: &str = "tide:gate";

/// What the provider does otherwise than it should, and what it has seen.
#[derive(Debug)]
pub struct Behaviour {
    /// Put into ID tokens in place of the nonce that was sent.
    pub nonce: Option<String>,
    /// Signs with a key that is not published.
    pub foreign_key: bool,
    /// How long tokens are good, in seconds.
    pub expires_in: u64,
    /// Status of all token answers, in place of tokens.
    pub token_status: Option<u16>,
    /// The connection to the token endpoint is closed without an answer.
    pub mute: bool,
    /// Gives refresh tokens.
    pub refresh: bool,
    /// Characters of a claim that makes the ID token long.
    pub padding: usize,
    /// Token requests: grant type and status of the answer.
    pub granted: Vec<(String, u16)>,
    /// Queries of the logout endpoint.
    pub logouts: Vec<String>,
    codes: BTreeMap<String, BTreeMap<String, String>>,
    refresh_tokens: Vec<String>,
    count: usize,
}

/// The provider. Its thread ends with the test's process.
#[derive(Debug)]
pub struct Provider {
    address: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    issuer: String,
    behaviour: Mutex<Behaviour>,
    key: EcdsaKeyPair,
    foreign: EcdsaKeyPair,
}

struct Asked {
    path: String,
    query: BTreeMap<String, String>,
    raw_query: String,
    authorization: String,
    form: BTreeMap<String, String>,
}

struct Answer {
    status: u16,
    fields: String,
    body: String,
}

impl Provider {
    /// Where it says that it is when it is started by [`Provider::elsewhere`].
    pub const ORIGIN: &str = "http://idp.test";

    /// Starts one whose name is its address.
    ///
    /// # Panics
    /// If loopback has no free port.
    pub fn start() -> Self {
        Self::begin(None)
    }

    /// Starts one whose name is below [`Provider::ORIGIN`], so that it is known before it is started.
    ///
    /// # Panics
    /// If loopback has no free port.
    pub fn elsewhere() -> Self {
        Self::begin(Some(Self::ORIGIN))
    }

    fn begin(origin: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let key = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let behaviour = Behaviour {
            nonce: None,
            foreign_key: false,
            expires_in: 3600,
            token_status: None,
            mute: false,
            refresh: true,
            padding: 0,
            granted: Vec::new(),
            logouts: Vec::new(),
            codes: BTreeMap::new(),
            refresh_tokens: Vec::new(),
            count: 0,
        };
        let inner = Arc::new(Inner {
            issuer: format!("{}/realm", origin.map_or(format!("http://{address}"), str::to_owned)),
            behaviour: Mutex::new(behaviour),
            key: key(),
            foreign: key(),
        });
        let serving = Arc::clone(&inner);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let inner = Arc::clone(&serving);
                std::thread::spawn(move || inner.serve(socket));
            }
        });
        Provider { address, inner }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name.
    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    /// What it does, to be changed.
    pub fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.inner.behaviour.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn serve(&self, socket: TcpStream) {
        let mut wire = Wire::new(Transport::Plain(socket), PATIENCE * 6);
        while let Ok(true) = wire.readable() {
            let Ok((head, framing)) = read_request_head(&mut wire) else { return };
            let Ok(body) = read_body(&mut wire, framing) else { return };
            let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
            let asked = Asked {
                path: path.to_owned(),
                query: parse(query),
                raw_query: query.to_owned(),
                authorization: head.headers.get("authorization").unwrap_or_default().to_owned(),
                form: parse(&String::from_utf8_lossy(&body.bytes)),
            };
            let Some(answer) = self.answer(&asked) else { return };
            let text = format!(
                "HTTP/1.1 {} X\r\n{}content-length: {}\r\n\r\n{}",
                answer.status,
                answer.fields,
                answer.body.len(),
                answer.body
            );
            if wire.send(text.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, asked: &Asked) -> Option<Answer> {
        let mut behaviour = self.behaviour.lock().unwrap_or_else(PoisonError::into_inner);
        let issuer = &self.issuer;
        Some(match asked.path.as_str() {
            "/realm/.well-known/openid-configuration" => of_json(
                200,
                &json!({
                    "issuer": issuer,
                    "authorization_endpoint": format!("{issuer}/authorize?tenant=a"),
                    "token_endpoint": format!("{issuer}/token"),
                    "jwks_uri": format!("{issuer}/keys"),
                    "end_session_endpoint": format!("{issuer}/logout"),
                }),
            ),
            "/realm/keys" => of_json(200, &self.keys()),
            "/realm/authorize" => authorize(&mut behaviour, asked),
            "/realm/token" => {
                if behaviour.mute {
                    return None;
                }
                let answer = self.token(&mut behaviour, asked);
                let grant = asked.form.get("grant_type").cloned().unwrap_or_default();
                behaviour.granted.push((grant, answer.status));
                answer
            }
            "/realm/logout" => {
                behaviour.logouts.push(asked.raw_query.clone());
                of_json(200, &json!({}))
            }
            _ => of_json(404, &json!({})),
        })
    }

    fn keys(&self) -> Value {
        // Uncompressed: 4, x, y.
        let point = self.key.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256", "x": x, "y": y }] })
    }

    fn token(&self, behaviour: &mut Behaviour, asked: &Asked) -> Answer {
        if let Some(status) = behaviour.token_status {
            return of_json(status, &json!({ "error": "server_error" }));
        }
        let known = format!("Basic {}", STANDARD.encode("tide%3Agate:s3cret%20%26more"));
        if asked.authorization != known {
            return of_json(401, &json!({ "error": "invalid_client" }));
        }
        let field = |name: &str| asked.form.get(name).map_or("", String::as_str);
        let refused =
            || of_json(400, &json!({ "error": "invalid_grant", "error_description": "not <b>you</b>" }));
        let nonce = match field("grant_type") {
            "authorization_code" => {
                let Some(code) = behaviour.codes.remove(field("code")) else { return refused() };
                let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, field("code_verifier").as_bytes()));
                if code["code_challenge"] != challenge || code["redirect_uri"] != field("redirect_uri") {
                    return refused();
                }
                Some(behaviour.nonce.clone().unwrap_or_else(|| code["nonce"].clone()))
            }
            "refresh_token" => {
                let token = field("refresh_token");
                let Some(at) = behaviour.refresh_tokens.iter().position(|known| known == token) else {
                    return refused();
                };
                behaviour.refresh_tokens.remove(at);
                None
            }
            _ => return of_json(400, &json!({ "error": "unsupported_grant_type" })),
        };
        behaviour.count += 1;
        let mut answer = json!({
            "token_type": "Bearer",
            "access_token": format!("access-{}", behaviour.count),
            "expires_in": behaviour.expires_in,
            "id_token": self.id_token(behaviour, nonce),
        });
        if behaviour.refresh {
            let token = format!("refresh-{}", behaviour.count);
            answer["refresh_token"] = json!(token);
            behaviour.refresh_tokens.push(token);
        }
        of_json(200, &answer)
    }

    fn id_token(&self, behaviour: &Behaviour, nonce: Option<String>) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let mut claims = json!({
            "iss": self.issuer, "aud": CLIENT, "sub": "ann", "email": "ann@example.com",
            "login": behaviour.count, "iat": now, "exp": now + behaviour.expires_in,
        });
        if behaviour.padding > 0 {
            claims["padding"] = json!("x".repeat(behaviour.padding));
        }
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = json!({ "alg": "ES256", "kid": "k1", "typ": "JWT" });
        let signed = format!("{}.{}", part(&head), part(&claims));
        let key = if behaviour.foreign_key { &self.foreign } else { &self.key };
        let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).expect("it signs");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// What a user who is logged in there sees: nothing, the browser is sent back at once.
fn authorize(behaviour: &mut Behaviour, asked: &Asked) -> Answer {
    let query = &asked.query;
    let field = |name: &str| query.get(name).map_or("", String::as_str);
    let complete = field("client_id") == CLIENT
        && field("tenant") == "a"
        && field("response_type") == "code"
        && field("code_challenge_method") == "S256"
        && field("scope").split(' ').any(|scope| scope == "openid")
        && ["code_challenge", "nonce", "state"].iter().all(|name| field(name).len() >= 20);
    if !complete {
        return of_json(400, &json!({ "error": "invalid_request" }));
    }
    behaviour.count += 1;
    let code = format!("code+{}", behaviour.count);
    behaviour.codes.insert(code.clone(), query.clone());
    let back =
        format!("{}?code={}&state={}", field("redirect_uri"), code.replace('+', "%2B"), field("state"));
    Answer { status: 302, fields: format!("location: {back}\r\n"), body: String::new() }
}

fn of_json(status: u16, value: &Value) -> Answer {
    Answer { status, fields: "content-type: application/json\r\n".to_owned(), body: value.to_string() }
}

/// A query or form, unescaped.
///
/// # Panics
/// If it is none.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (unescape(name), unescape(value))).collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        match (first, more) {
            (b'%', [high, low, more @ ..]) => {
                let digits = String::from_utf8_lossy(&[*high, *low]).into_owned();
                bytes.push(u8::from_str_radix(&digits, 16).expect("two digits"));
                rest = more;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).expect("text")
}
