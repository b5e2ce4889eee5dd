//! `tidegate diff`: which requests a candidate configuration would treat otherwise than a running gateway does.

mod recorded;

use std::io::{BufReader, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

use crate::admin::Asked;
use crate::credentials::{Asking, Credentials};
use crate::fetch::Call;
use crate::run::on_control_thread;
use crate::words::many;

/// `tidegate diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The candidate, one file of YAML or JSON.
    file: PathBuf,
    /// Requests that matter, one JSON object a line: lines of a JSON access log, of `tidegate tap --json`, or
    /// `{"method": …, "url": …, "headers": [[…, …]]}`; `-` reads them from standard input. Default: one request for each
    /// match of both configurations.
    #[arg(long, value_name = "FILE")]
    requests: Option<PathBuf>,
    /// Prints what the admin API answers, one JSON object.
    #[arg(long)]
    json: bool,
    /// Where the gateway's admin API is, or `unix:` and the path of its socket.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9900")]
    admin: String,
    #[command(flatten)]
    credentials: Credentials,
}

/// Compares; exit 1 where the candidate has problems.
pub(crate) fn run(args: &DiffArgs) -> Result<ExitCode> {
    let shown = args.file.display();
    if args.file.is_dir() {
        bail!("{shown} is a folder; a candidate is one file");
    }
    let document = std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {shown}"))?;
    let requests = args.requests.as_deref().map(requests).transpose()?;
    let asking = args.credentials.asking(&args.admin, "/diff")?;
    let told = on_control_thread(async move { compare(&asking, &document, requests.as_deref()).await })?;
    let mut out = stdout().lock();
    match args.json {
        true => writeln!(out, "{told}"),
        false => out.write_all(text(&told, &shown.to_string()).as_bytes()),
    }
    .context("the output is closed")?;
    let right = told["problems"].as_array().is_none_or(Vec::is_empty);
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Those of a file, each once.
fn requests(path: &Path) -> Result<Vec<Asked>> {
    let shown = path.display();
    if path == Path::new("-") {
        return recorded::read(std::io::stdin().lock(), "standard input");
    }
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {shown}"))?;
    recorded::read(BufReader::new(file), &shown.to_string())
}

/// Asks in pieces that the API takes, and puts the answers together.
async fn compare(asking: &Asking, document: &str, requests: Option<&[Asked]>) -> Result<Value> {
    let Some(requests) = requests else { return ask(asking, &json!({ "document": document })).await };
    let mut all: Option<Value> = None;
    for piece in pieces(requests) {
        let told = ask(asking, &json!({ "document": document, "requests": piece })).await?;
        all = Some(match all {
            None => told,
            Some(before) => joined(before, &told),
        });
    }
    all.context("there is no request to compare")
}

/// Requests of at most so many bytes together.
fn pieces(requests: &[Asked]) -> Vec<&[Asked]> {
    let (mut pieces, mut first, mut size) = (Vec::new(), 0, 0);
    for (at, request) in requests.iter().enumerate() {
        // What JSON adds to them, and control characters, has room in the rest of what the API takes.
        let fields: usize = request.headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        let own = request.url.len() + fields + 128;
        if size + own > PIECE && at > first {
            pieces.push(&requests[first..at]);
            (first, size) = (at, 0);
        }
        size += own;
    }
    if first < requests.len() {
        pieces.push(&requests[first..]);
    }
    pieces
}

fn joined(mut before: Value, told: &Value) -> Value {
    let compared = before["compared"].as_u64().unwrap_or(0) + told["compared"].as_u64().unwrap_or(0);
    before["compared"] = compared.into();
    if let (Some(all), Some(more)) = (before["changes"].as_array_mut(), told["changes"].as_array()) {
        all.extend_from_slice(more);
    }
    before
}

async fn ask(asking: &Asking, question: &Value) -> Result<Value> {
    let Asking { client, url, headers } = asking;
    let mut headers = headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = question.to_string().into();
    let call = Call { method: Method::POST, url, headers, body, limit: LARGEST };
    let answer = client.send(call).await.map_err(anyhow::Error::msg)?;
    if !answer.status.is_success() {
        bail!("{url}: answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body).trim());
    }
    serde_json::from_slice(&answer.body).with_context(|| format!("{url} is no gateway's"))
}

/// What was found, for people.
fn text(told: &Value, name: &str) -> String {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut text = String::new();
    for problem in list(&told["problems"]).iter().chain(&list(&told["warnings"])) {
        let line = problem["line"].as_u64().map(|line| format!(":{line}")).unwrap_or_default();
        let hint = problem["hint"].as_str().map(|hint| format!(" ({hint})")).unwrap_or_default();
        let path = problem["path"].as_str().filter(|path| !path.is_empty());
        let path = path.map(|path| format!("{path}: ")).unwrap_or_default();
        text.push_str(&format!("{name}{line}: {path}{}{hint}\n", word(&problem["message"])));
    }
    if !list(&told["problems"]).is_empty() {
        return text;
    }
    for change in list(&told["changes"]) {
        text.push_str(&format!("{}\n", word(&change["request"])));
        for differs in list(&change["differs"]) {
            let what = word(&differs["what"]);
            for (sign, side) in [('-', "before"), ('+', "after")] {
                let value = word(&differs[side]);
                if !value.is_empty() {
                    text.push_str(&format!("  {what:<9} {sign} {value}\n"));
                }
            }
        }
    }
    let changes = list(&told["changes"]).len();
    let compared = many(told["compared"].as_u64().unwrap_or(0), "request");
    text.push_str(&format!("{compared} compared, {changes} would be treated otherwise\n"));
    text
}

/// Bytes of requests that are asked about at once, of the 4 MiB that the API takes with the document.
const PIECE: usize = 2 << 20;

/// Bytes of an answer at most.
const LARGEST: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_piece_is_larger_than_it_may_be_unless_it_is_one_request() {
        let asked = |length: usize| Asked {
            method: "GET".to_owned(),
            url: "u".repeat(length),
            listener: None,
            client_address: None,
            headers: Vec::new(),
        };
        for (lengths, expected) in [
            (&[PIECE * 4 / 5; 3][..], &[1, 1, 1][..]),
            (&[PIECE / 3; 5], &[2, 2, 1]),
            (&[PIECE * 2, 1, 1], &[1, 2]),
            (&[1; 3], &[3]),
            (&[], &[]),
        ] {
            let all: Vec<Asked> = lengths.iter().map(|length| asked(*length)).collect();
            let counts: Vec<usize> = pieces(&all).iter().map(|piece| piece.len()).collect();
            assert_eq!(counts, expected);
        }
    }

    #[test]
    fn problems_of_a_candidate_are_told_as_check_tells_them() {
        let problem = |line: Option<u64>, path: &str, hint: Option<&str>| serde_json::json!({ "line": line, "path": path, "message": "wrong", "hint": hint });
        let problems = [
            problem(Some(3), "routes[0]", Some("right")),
            problem(Some(1), "", None),
            problem(None, "", None),
        ];
        let told = text(&serde_json::json!({ "problems": problems }), "a.yaml");
        assert_eq!(told, "a.yaml:3: routes[0]: wrong (right)\na.yaml:1: wrong\na.yaml: wrong\n");
    }
}
