//! Commands that look at a configuration without running it: check, explain, schema.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, Uri};
use tidegate_config::Problem;
use tidegate_proxy::ExplainRequest;

use crate::admin::Asked;
use crate::apply::{self, Before, Outcome, Workshop};
use crate::cli::ExplainArgs;
use crate::credentials::{Asking, Credentials};
use crate::fetch::Call;
use crate::files::Files;
use crate::run::on_control_thread;
use crate::words::many;

/// `tidegate check`: everything short of opening sockets is done.
pub(crate) fn check(file: &Path, all: bool) -> Result<ExitCode> {
    let attempt = apply::prepare(file, &Workshop::open()?, &Before::Check);
    let (problems, code) = match attempt.outcome {
        Outcome::Ready(ready) => (ready.warnings, ExitCode::SUCCESS),
        Outcome::Refused(problems) => (problems, ExitCode::FAILURE),
        Outcome::Unchanged => (Vec::new(), ExitCode::SUCCESS),
    };
    let mut out = io::stdout().lock();
    write_problems(&mut out, &problems, if all { usize::MAX } else { MOST })?;
    if code == ExitCode::SUCCESS {
        writeln!(out, "{}: ok", file.display())?;
    }
    Ok(code)
}

/// The first of them, and how many more there are: a folder of something else has thousands, in which nobody finds the first
/// one again.
pub(crate) fn write_problems(out: &mut impl Write, problems: &[Problem], most: usize) -> io::Result<()> {
    for problem in problems.iter().take(most) {
        writeln!(out, "{problem}")?;
    }
    match problems.len().saturating_sub(most) {
        0 => Ok(()),
        more => {
            let more = many(more as u64, "more problem");
            writeln!(
                out,
                "… and {more}; is this a configuration of the gateway? `tidegate check --all` tells each"
            )
        }
    }
}

/// Problems that are told without being asked for all.
pub(crate) const MOST: usize = 50;

/// `tidegate explain`: a pure function of the plan, of a file or of a running gateway; modules and certificates are not
/// needed.
pub(crate) fn explain(args: &ExplainArgs) -> Result<ExitCode> {
    if let Some(admin) = &args.admin {
        let told = ask(admin, &args.credentials, &asked(args, &args.words)?)?;
        io::stdout().lock().write_all(told.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some((file, words)) = args.words.split_first().filter(|(_, words)| !words.is_empty()) else {
        bail!("a file and a URL are wanted, or --admin and a URL");
    };
    let Asked { method, url, client_address, headers, .. } = asked(args, words)?;
    let request = request(&method, &url, client_address, &headers)?;
    let mut out = io::stdout().lock();
    match apply::load(Path::new(file), &mut Files::default()) {
        Ok(loaded) => {
            write!(out, "{}", tidegate_proxy::explain(&loaded.plan, &request))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            let problems: Vec<Problem> = problems.into_iter().collect();
            write_problems(&mut out, &problems, MOST)?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// `tidegate schema`.
pub(crate) fn schema() -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &tidegate_config::schema())?;
    writeln!(out)?;
    Ok(ExitCode::SUCCESS)
}

/// The request that the command line describes by these words.
fn asked(args: &ExplainArgs, words: &[String]) -> Result<Asked> {
    let header = |text: &String| match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => bail!("{text:?} is not a header, as 'x-env: staging' is"),
    };
    let headers = args.headers.iter().map(header).collect::<Result<Vec<_>>>()?;
    let (method, url) = match words {
        [url] => (String::new(), url.clone()),
        [method, url] => (method.clone(), url.clone()),
        _ => bail!("a method and a URL are wanted, nothing else"),
    };
    Ok(Asked { method, url, listener: None, client_address: args.client_address, headers })
}

/// What a running gateway says of a request.
fn ask(admin: &str, credentials: &Credentials, asked: &Asked) -> Result<String> {
    let Asking { client, url, mut headers } = credentials.asking(admin, "/explain")?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/plain"));
    let body = serde_json::to_vec(asked)?.into();
    on_control_thread(async move {
        let call = Call { method: Method::POST, url: &url, headers, body, limit: LARGEST };
        let answer = client.send(call).await.map_err(anyhow::Error::msg)?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if !answer.status.is_success() {
            bail!("{url}: answered {}: {}", answer.status, text.trim());
        }
        Ok(text)
    })
}

/// Bytes of an explanation at most.
const LARGEST: usize = 16 << 20;

/// A request by its method, which a connection has none of, its whole address and its fields.
pub(crate) fn request(
    method: &str,
    text: &str,
    client: Option<IpAddr>,
    headers: &[(String, String)],
) -> Result<ExplainRequest> {
    let url: Uri = text.parse().with_context(|| format!("{text:?} is not a URL"))?;
    let (Some(scheme), Some(host)) = (url.scheme_str(), url.host()) else {
        bail!("{text:?} is not a whole URL, as https://shop.example.com/orders is");
    };
    match (scheme, method) {
        ("http" | "https", "") => bail!("{text:?} needs a method before it, as GET is"),
        ("tcp" | "tls", "") | ("http" | "https", _) => {}
        ("tcp" | "tls", method) => bail!("a connection has no method: leave {method:?} out"),
        _ => bail!("the URL's scheme is {scheme:?}; it must be http, https, tcp or tls"),
    }
    Ok(ExplainRequest {
        method: method.to_owned(),
        scheme: scheme.to_owned(),
        host: host.to_owned(),
        port: url.port_u16(),
        path_and_query: url.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        client: client.map(|ip| SocketAddr::new(ip, 0)),
        headers: headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str], headers: &[&str]) -> Result<ExplainRequest> {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let args = ExplainArgs {
            words: owned(words),
            admin: None,
            credentials: Credentials::default(),
            headers: owned(headers),
            client_address: None,
        };
        let Asked { method, url, client_address, headers, .. } = asked(&args, &args.words)?;
        request(&method, &url, client_address, &headers)
    }

    #[test]
    fn a_url_becomes_a_request() {
        let request =
            read(&["GET", "https://shop.example.com:8443/orders?x=1"], &["X-Env:  staging"]).expect("valid");
        assert_eq!((request.scheme.as_str(), request.host.as_str()), ("https", "shop.example.com"));
        assert_eq!((request.port, request.path_and_query.as_str()), (Some(8443), "/orders?x=1"));
        assert_eq!(request.headers, [("x-env".to_owned(), "staging".to_owned())]);
    }

    #[test]
    fn a_connection_has_no_method() {
        let connection = read(&["tls://db.example.com:5432"], &[]).expect("valid");
        assert_eq!((connection.scheme.as_str(), connection.host.as_str()), ("tls", "db.example.com"));
        assert_eq!((connection.port, connection.method.as_str()), (Some(5432), ""));
        for words in [&["GET", "tcp://a:1"][..], &["http://a/"], &["GET"], &["GET", "http://a/", "x"]] {
            assert!(read(words, &[]).is_err(), "{words:?}");
        }
    }

    #[test]
    fn what_is_not_a_request_is_told() {
        for (url, headers) in
            [("/orders", &[][..]), ("ftp://a/b", &[]), ("http://a b", &[]), ("http://a/", &["x"])]
        {
            assert!(read(&["GET", url], headers).is_err(), "{url} {headers:?}");
        }
    }
}
