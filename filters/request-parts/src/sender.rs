//! Who sends a request, as the filter `auth` hands it on to the filters behind it: properties of the request, which no client
//! can write.

use std::fmt;

use serde::Deserialize;
use tidegate_sdk::{Outcome, Request};

/// A claim of the sender's, by its path with dots.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Claim {
    /// The property that has its value.
    property: String,
}

/// The sender's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject;

/// Where credentials were that `auth` has taken out of a request: names of headers, and [`Taken::QUERY`]. Who keeps answers
/// must not take the request for one that never had them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken(Vec<u8>);

impl Taken {
    /// The query.
    pub const QUERY: &str = "?";

    /// What was taken out of this request.
    pub fn of<S>(request: &Request<S>) -> Self {
        Taken(request.properties().own(TAKEN).unwrap_or_default())
    }

    /// Whether something was taken out of the header of this name, in lower case, or the query.
    pub fn has(&self, name: &str) -> bool {
        self.0.split(|byte| *byte == b',').any(|taken| taken == name.as_bytes())
    }

    /// Tells of more that is taken out.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn note<S>(request: &Request<S>, names: &[&str]) -> Outcome<()> {
        let Taken(mut all) = Taken::of(request);
        for name in names {
            if !all.is_empty() {
                all.push(b',');
            }
            all.extend_from_slice(name.as_bytes());
        }
        request.properties().set(TAKEN, all)
    }
}

impl Claim {
    /// The claim of this name.
    ///
    /// # Errors
    /// A text for the configuration's author, when no claim has such a name.
    pub fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() || name.len() > LONGEST || name.contains(char::is_control) {
            let name = name.escape_debug();
            return Err(format!("\"{name}\" is no claim, as \"sub\" or \"org.tenant\" is"));
        }
        Ok(Claim { property: format!("{CLAIM}{name}") })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.property.strip_prefix(CLAIM).unwrap_or_default()
    }

    /// What was handed on of it; nothing where the sender has no such claim, or nobody handed it on.
    pub fn of<S>(&self, request: &Request<S>) -> Option<Vec<u8>> {
        request.properties().own(&self.property).filter(|value| !value.is_empty())
    }

    /// Hands it on.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn hand_on<S>(&self, request: &Request<S>, value: &str) -> Outcome<()> {
        request.properties().set(&self.property, value)
    }
}

impl Subject {
    /// The name that was handed on.
    pub fn of<S>(self, request: &Request<S>) -> Option<Vec<u8>> {
        request.properties().own(SUBJECT).filter(|value| !value.is_empty())
    }

    /// Hands it on.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn hand_on<S>(self, request: &Request<S>, name: &str) -> Outcome<()> {
        request.properties().set(SUBJECT, name)
    }
}

impl TryFrom<String> for Claim {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Claim::new(&name)
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.name()).finish()
    }
}

const SUBJECT: &str = "auth.subject";
const CLAIM: &str = "auth.claim.";
const TAKEN: &str = "auth.taken";

/// Bytes of a claim's path.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::Claim;

    #[test]
    fn claims_have_names() {
        let claim: Result<Claim, _> = serde_json::from_str("\"org.tenant\"");
        assert_eq!(claim.expect("a name").name(), "org.tenant");
        for wrong in ["", "a\nb", "\0", &"a".repeat(257)] {
            assert!(Claim::new(wrong).is_err(), "{wrong:?}");
        }
    }
}
