//! Commands that look at a configuration without running it: check, explain, schema.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use http::Uri;
use tidegate_proxy::ExplainRequest;

use crate::apply::{self, Before, Outcome, Workshop};
use crate::cli::ExplainArgs;
use crate::files::Files;

/// `tidegate check`: everything short of opening sockets is done.
pub(crate) fn check(file: &Path) -> Result<ExitCode> {
    let attempt = apply::prepare(file, &Workshop::open()?, &Before::Check);
    let (problems, code) = match attempt.outcome {
        Outcome::Ready(ready) => (ready.warnings, ExitCode::SUCCESS),
        Outcome::Refused(problems) => (problems, ExitCode::FAILURE),
        Outcome::Unchanged => (Vec::new(), ExitCode::SUCCESS),
    };
    let mut out = io::stdout().lock();
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    if code == ExitCode::SUCCESS {
        writeln!(out, "{}: ok", file.display())?;
    }
    Ok(code)
}

/// `tidegate explain`: a pure function of the plan; modules and certificates are not needed.
pub(crate) fn explain(args: &ExplainArgs) -> Result<ExitCode> {
    let request = from_args(args)?;
    let mut out = io::stdout().lock();
    match apply::load(&args.file, &mut Files::default()) {
        Ok(loaded) => {
            write!(out, "{}", tidegate_proxy::explain(&loaded.plan, &request))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            for problem in &problems {
                writeln!(out, "{problem}")?;
            }
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

/// The request that the command line describes.
fn from_args(args: &ExplainArgs) -> Result<ExplainRequest> {
    let header = |text: &String| match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => bail!("{text:?} is not a header, as 'x-env: staging' is"),
    };
    let headers = args.headers.iter().map(header).collect::<Result<Vec<_>>>()?;
    match &args.url {
        Some(url) => request(&args.method, url, args.client_address, &headers),
        None => request("", &args.method, args.client_address, &headers),
    }
}

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

    fn args(url: &str, headers: &[&str]) -> ExplainArgs {
        ExplainArgs {
            file: "a.yaml".into(),
            method: "GET".to_owned(),
            url: Some(url.to_owned()),
            headers: headers.iter().map(|header| (*header).to_owned()).collect(),
            client_address: None,
        }
    }

    #[test]
    fn a_url_becomes_a_request() {
        let request = from_args(&args("https://shop.example.com:8443/orders?x=1", &["X-Env:  staging"]))
            .expect("valid");
        assert_eq!((request.scheme.as_str(), request.host.as_str()), ("https", "shop.example.com"));
        assert_eq!((request.port, request.path_and_query.as_str()), (Some(8443), "/orders?x=1"));
        assert_eq!(request.headers, [("x-env".to_owned(), "staging".to_owned())]);
    }

    #[test]
    fn a_connection_has_no_method() {
        let args = |first: &str, url: Option<&str>| ExplainArgs {
            method: first.to_owned(),
            url: url.map(str::to_owned),
            ..args("", &[])
        };
        let connection = from_args(&args("tls://db.example.com:5432", None)).expect("valid");
        assert_eq!((connection.scheme.as_str(), connection.host.as_str()), ("tls", "db.example.com"));
        assert_eq!((connection.port, connection.method.as_str()), (Some(5432), ""));
        for (first, url) in [("GET", Some("tcp://a:1")), ("http://a/", None), ("GET", None)] {
            assert!(from_args(&args(first, url)).is_err(), "{first} {url:?}");
        }
    }

    #[test]
    fn what_is_not_a_request_is_told() {
        for (url, headers) in
            [("/orders", &[][..]), ("ftp://a/b", &[]), ("http://a b", &[]), ("http://a/", &["x"])]
        {
            assert!(from_args(&args(url, headers)).is_err(), "{url} {headers:?}");
        }
    }
}
