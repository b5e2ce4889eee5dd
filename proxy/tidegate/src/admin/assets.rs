//! The dashboard's files, which the binary carries.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Response, StatusCode};

use super::answer::{AdminBody, respond};
use crate::assets::{digest, hex};

/// Where they are.
pub(super) const PREFIX: &str = "/dashboard/";

/// The page itself.
const PAGE: &str = "index.html";

macro_rules! files {
    ($($name:literal)*) => {
        [$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/dashboard/", $name)).as_slice())),*]
    };
}

const FILES: [(&str, &[u8]); 19] = files! {
    "index.html" "style.css" "icon.svg" "app.js" "chart.js" "data.js" "dom.js" "format.js"
    "views/overview.js" "views/graph.js" "views/routes.js" "views/upstreams.js" "views/plugins.js"
    "views/configuration.js" "views/certificates.js" "views/problems.js" "views/tap.js" "vendor/uPlot.js" "vendor/uPlot.css"
};

/// The file at a path below [`PREFIX`].
pub(super) fn answer(name: &str, headers: &HeaderMap) -> Option<Response<AdminBody>> {
    let name = if name.is_empty() { PAGE } else { name };
    let (_, content) = FILES.iter().find(|(known, _)| *known == name)?;
    let tag = HeaderValue::from_str(&format!("\"{}\"", hex(&digest(content)))).ok()?;
    let known = headers.get(IF_NONE_MATCH).is_some_and(|known| *known == tag);
    let mut response = match known {
        true => respond(StatusCode::NOT_MODIFIED, kind(name), ""),
        false => respond(StatusCode::OK, kind(name), Bytes::from_static(content)),
    };
    let fields = response.headers_mut();
    fields.insert(ETAG, tag);
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    fields.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        _ => "image/svg+xml",
    }
}

/// Nothing comes from elsewhere, nothing is asked elsewhere, nobody frames the page.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_carried_and_small() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboard");
        let mut total = 0;
        for below in ["", "views", "vendor"] {
            for entry in std::fs::read_dir(folder.join(below)).expect("it is there") {
                let path = entry.expect("it can be read").path();
                let name = path.strip_prefix(&folder).expect("it is below").to_str().expect("is text");
                if path.is_file() && !name.ends_with("LICENSE") {
                    assert!(FILES.iter().any(|(known, _)| *known == name), "{name}");
                    total += std::fs::metadata(&path).expect("it is there").len();
                }
            }
        }
        assert!(total < 300 << 10, "{total} bytes");
    }
}
