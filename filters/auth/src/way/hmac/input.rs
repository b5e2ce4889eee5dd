//! `signature-input` (RFC 9421, section 4.1) and the text that is signed (section 2.5).

use tidegate_sdk::units;

use crate::Request;
use crate::bytes::from_base64;

/// The first signature that the header tells of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Input<'a> {
    pub(super) label: &'a str,
    /// The list and its parameters as they are written, which is signed as well.
    written: &'a str,
    pub(super) components: Vec<&'a str>,
    pub(super) key: &'a str,
    pub(super) created: Option<u64>,
    pub(super) expires: Option<u64>,
    pub(super) algorithm: Option<&'a str>,
}

impl<'a> Input<'a> {
    pub(super) fn read(header: &'a str) -> Option<Self> {
        let (label, rest) = header.split_once('=')?;
        let label = label.trim_start_matches(' ');
        let (list, parameters) = rest.strip_prefix('(')?.split_once(')')?;
        let mut components: Vec<&str> = Vec::new();
        for item in list.split(' ').filter(|item| !item.is_empty()) {
            let name = item.strip_prefix('"')?.strip_suffix('"')?;
            // A component that is there twice would be ambiguous (section 2.5).
            if !is_component(name) || components.contains(&name) {
                return None;
            }
            components.push(name);
        }
        let mut input =
            Input { label, written: "", components, key: "", created: None, expires: None, algorithm: None };
        let end = input.parameters(parameters)?;
        input.written = rest.get(..rest.len() - end.len())?;
        (is_key(label) && !input.key.is_empty()).then_some(input)
    }

    /// Reads `;name=value` as often as it is there; returns what follows.
    fn parameters(&mut self, text: &'a str) -> Option<&'a str> {
        let (mut rest, mut seen) = (text, Vec::new());
        while let Some(parameter) = rest.strip_prefix(';') {
            let (name, value) = parameter.split_once('=')?;
            let (value, after) = match value.strip_prefix('"') {
                Some(value) => value.split_once('"')?,
                None => value.split_at(value.find([';', ',', ' ']).unwrap_or(value.len())),
            };
            if !is_key(name) || value.contains(['\\', '"']) || seen.contains(&name) {
                return None;
            }
            seen.push(name);
            match name {
                "keyid" => self.key = value,
                "alg" => self.algorithm = Some(value),
                "created" => self.created = Some(value.parse().ok()?),
                "expires" => self.expires = Some(value.parse().ok()?),
                _ => {}
            }
            rest = after;
        }
        // Further signatures are not looked at.
        (rest.is_empty() || rest.starts_with(',')).then_some(rest)
    }

    /// What is signed. Nothing when a component is not there.
    pub(super) fn base(&self, request: &Request) -> Option<String> {
        let mut text = String::new();
        for name in &self.components {
            let value = match name.strip_prefix('@') {
                Some(derived) => derived_value(derived, request)?,
                None => header(request, name)?,
            };
            text += &format!("\"{name}\": {value}\n");
        }
        text += "\"@signature-params\": ";
        text += self.written;
        Some(text)
    }
}

/// A derived component (section 2.2).
fn derived_value(name: &str, request: &Request) -> Option<String> {
    let target = || request.path();
    Some(match name {
        "method" => request.method(),
        "authority" => authority(request),
        "scheme" => request.scheme().to_ascii_lowercase(),
        "request-target" => target(),
        "target-uri" => format!("{}://{}{}", request.scheme(), authority(request), target()),
        "path" => target().split('?').next().unwrap_or_default().to_owned(),
        "query" => format!("?{}", target().split_once('?').map(|(_, query)| query).unwrap_or_default()),
        _ => return None,
    })
}

/// In lower case, without the scheme's own port.
fn authority(request: &Request) -> String {
    let authority = request.authority().to_ascii_lowercase();
    let usual = if request.scheme() == "https" { ":443" } else { ":80" };
    authority.strip_suffix(usual).map(str::to_owned).unwrap_or(authority)
}

/// The values of a header in one (section 2.1).
pub(super) fn header(request: &Request, name: &str) -> Option<String> {
    let values = request.headers().get_all(name);
    let texts: Option<Vec<&str>> = values.iter().map(|value| value.to_str().map(str::trim)).collect();
    texts.filter(|texts| !texts.is_empty()).map(|texts| texts.join(", "))
}

/// The bytes of a member of a dictionary, as `sig1=:AAAA:`.
pub(super) fn signature(header: &str, label: &str) -> Option<Vec<u8>> {
    let mut members = header.split(',').map(|member| member.trim_matches([' ', '\t']));
    let bytes = members.find_map(|member| member.strip_prefix(label)?.strip_prefix('='))?;
    from_base64(bytes.strip_prefix(':')?.strip_suffix(':')?.as_bytes())
}

/// Whether this is a component that can be signed.
pub(super) fn is_component(name: &str) -> bool {
    match name.strip_prefix('@') {
        Some(derived) => ["method", "authority", "scheme", "request-target", "target-uri", "path", "query"]
            .contains(&derived),
        None => units::header_name(name).is_ok_and(|lower| lower == name),
    }
}

/// A key of a dictionary or parameter (RFC 8941, section 3.1.2).
fn is_key(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase() || first == b'*')
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_strictly() {
        let input =
            Input::read("sig1=(\"@method\" \"date\");created=5;keyid=\"k 1\";alg=\"hmac-sha256\";x=1, b=()");
        let input = input.expect("it is well-formed");
        assert_eq!((input.label, input.key, input.created), ("sig1", "k 1", Some(5)));
        assert_eq!(input.components, ["@method", "date"]);
        assert!(input.written.starts_with("(\"@method\"") && input.written.ends_with(";x=1"));
        for wrong in [
            "",
            "sig1",
            "sig1=()",
            "sig1=(@method);keyid=\"k\"",
            "sig1=(\"@method\" \"@method\");keyid=\"k\"",
            "sig1=(\"Date\");keyid=\"k\"",
            "sig1=(\"@other\");keyid=\"k\"",
            "sig1=(\"date\";sf);keyid=\"k\"",
            "sig1=(\"date\");keyid=\"k",
            "sig1=(\"date\");keyid=\"k\";keyid=\"l\"",
            "sig1=(\"date\");keyid=\"k\\\"\"",
            "sig1=(\"date\");keyid=\"k\";created=-5",
            "sig1=(\"date\");keyid=\"k\" ",
            "sig1=(\"date\");keyid",
            "Sig=(\"date\");keyid=\"k\"",
        ] {
            assert_eq!(Input::read(wrong), None, "{wrong}");
        }
        assert_eq!(signature("a=:AA==:, b=:AQ==:", "b"), Some(vec![1]));
        assert_eq!(signature("ab=:AA==:", "a"), None);
        assert_eq!(signature("a=AA==", "a"), None);
    }
}
