//! What the filters behind this one are told of the sender: properties of the request, which no client can write.

use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value;
use tidegate_request_parts::{Claim, Subject};
use tidegate_sdk::{ConfigError, Outcome, log};

use crate::Request;
use crate::identity::{Identity, written};

/// What the filters behind this one are told of the sender. Those of this project read it as `subject` and `claim`; others
/// find it in the properties `auth.subject` and `auth.claim.NAME`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct HandOnDocument {
    /// The sender's name: the consumer of a key, the user, `sub` of a token, a SPIFFE id.
    subject: bool,
    /// Claims, as `org.tenant`. Lists are joined by commas, objects and what no header can have written as JSON. Keys have
    /// their metadata as claims.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Vec<String>"))]
    claims: Vec<Claim>,
}

/// What is handed on.
#[derive(Debug)]
pub(crate) struct HandedOn {
    subject: bool,
    claims: Vec<Claim>,
}

impl HandedOn {
    /// Checks the names.
    pub(crate) fn build(document: HandOnDocument) -> Result<Self, ConfigError> {
        let HandOnDocument { subject, claims } = document;
        for (at, claim) in claims.iter().enumerate() {
            if claims.iter().take(at).any(|earlier| earlier == claim) {
                let message = format!("\"{}\" is listed before", claim.name());
                return Err(ConfigError::at(format!("handOn.claims[{at}]"), message));
            }
        }
        Ok(HandedOn { subject, claims })
    }

    /// What was handed on before, by another use of this filter on the request's way, is not of the sender that this one
    /// knows.
    pub(crate) fn clear(&self, request: &Request) {
        if self.subject {
            note(Subject.hand_on(request, ""));
        }
        for claim in &self.claims {
            note(claim.hand_on(request, ""));
        }
    }

    /// Hands on what is known of the sender. Of several the first who has something to tell counts, as in headers.
    pub(crate) fn write(&self, request: &Request, identities: &[Rc<Identity>]) {
        let Some(first) = identities.first() else { return };
        if self.subject {
            note(Subject.hand_on(request, &told(&Value::from(first.subject.as_str()))));
        }
        for claim in &self.claims {
            let mut found = identities.iter().filter_map(|identity| identity.claim(claim.name()));
            if let Some(value) = found.next() {
                note(claim.hand_on(request, &told(value)));
            }
        }
    }
}

/// As a header has it; as JSON what no header can have. A limit by a claim holds whatever the claim's value is.
fn told(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        value => written(value).unwrap_or_else(|| value.to_string()),
    }
}

/// What cannot be handed on is missing behind this filter, as if the sender had no such claim.
fn note(outcome: Outcome<()>) {
    if let Err(error) = outcome {
        log::warn!("a claim is not handed on: {error}");
    }
}
