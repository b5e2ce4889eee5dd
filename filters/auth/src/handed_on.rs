//! What the filters behind this one are told of the sender: properties of the request, which no client can write.

use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value;
use tidegate_request_parts::{Claim, Subject};
use tidegate_sdk::{ConfigError, Outcome, log};

use crate::Request;
use crate::identity::{Identity, SEPARATOR, written};
use crate::way::{Source, Way};

/// What the filters behind this one are told of the sender. Those of this project read it as `subject` and `claim`; others
/// find it in the properties `auth.subject` and `auth.claim.NAME`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct HandOnDocument {
    /// The sender's name: the consumer of a key, the user, `sub` of a token, a SPIFFE id. `bare` (or `true`) as it is;
    /// `qualified` with the way and, of tokens and logins, the issuer before it, as `jwt|https://issuer.example|ann` and
    /// `key|ann`. Where two ways or issuers could give the same name to different senders, one of the words is needed.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<SubjectForm>"))]
    subject: SubjectForm,
    /// Claims, as `org.tenant`. Lists are joined by commas, objects and what no header can have written as JSON. Keys have
    /// their metadata as claims.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Vec<String>"))]
    claims: Vec<Claim>,
}

/// How the sender's name is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "expected true, false, bare or qualified")]
enum SubjectForm {
    /// Not, or as it is where that is plain.
    Plain(bool),
    /// In a certain form.
    Word(SubjectWord),
}

impl Default for SubjectForm {
    fn default() -> Self {
        SubjectForm::Plain(false)
    }
}

/// A form of the sender's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
enum SubjectWord {
    /// As it is: the same name means the same sender, whichever way knows them.
    Bare,
    /// Behind its way and issuer.
    Qualified,
}

/// What is handed on.
#[derive(Debug)]
pub(crate) struct HandedOn {
    subject: Option<SubjectWord>,
    claims: Vec<Claim>,
}

impl HandedOn {
    /// Checks the names.
    pub(crate) fn build(document: HandOnDocument, ways: &[&Way]) -> Result<Self, ConfigError> {
        let HandOnDocument { subject, claims } = document;
        let subject = named(subject, ways).map_err(|problem| ConfigError::at("handOn.subject", problem))?;
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
        if self.subject.is_some() {
            note(Subject.hand_on(request, ""));
        }
        for claim in &self.claims {
            note(claim.hand_on(request, ""));
        }
    }

    /// Hands on what is known of the sender. Of several the first who has something to tell counts, as in headers.
    pub(crate) fn write(&self, request: &Request, identities: &[Rc<Identity>]) {
        let Some(first) = identities.first() else { return };
        match self.subject {
            None => {}
            Some(SubjectWord::Bare) => {
                note(Subject.hand_on(request, &told(&Value::from(first.subject.as_str()))));
            }
            // Who has no name is not made one by those who know them.
            Some(SubjectWord::Qualified) if first.subject.is_empty() => {}
            Some(SubjectWord::Qualified) => note(Subject.hand_on(request, &first.qualified())),
        }
        for claim in &self.claims {
            let mut found = identities.iter().filter_map(|identity| identity.claim(claim.name()));
            if let Some(value) = found.next() {
                note(claim.hand_on(request, &told(value)));
            }
        }
    }
}

/// The form of the sender's name, where nobody can be taken for another by it.
fn named(form: SubjectForm, ways: &[&Way]) -> Result<Option<SubjectWord>, String> {
    let sources: Vec<Source<'_>> = ways.iter().flat_map(|way| way.sources()).collect();
    match form {
        SubjectForm::Plain(false) => Ok(None),
        SubjectForm::Word(SubjectWord::Bare) => Ok(Some(SubjectWord::Bare)),
        SubjectForm::Plain(true) if sources.iter().all(|source| sources.first() == Some(source)) => {
            Ok(Some(SubjectWord::Bare))
        }
        SubjectForm::Plain(true) => Err("the ways have several sources of names, which may give one name to different \
             senders; write `qualified` for names as `jwt|https://issuer.example|ann`, or `bare` where a name means \
             the same sender everywhere"
            .to_owned()),
        SubjectForm::Word(SubjectWord::Qualified) => {
            all_apart(ways, "write `bare` where a name means the same sender in both")?;
            Ok(Some(SubjectWord::Qualified))
        }
    }
}

/// Whether no two senders can have the same qualified name; else why not, and what else there is.
pub(crate) fn all_apart(ways: &[&Way], otherwise: &str) -> Result<(), String> {
    let mut earlier = Vec::new();
    for source in ways.iter().flat_map(|way| way.sources()) {
        told_apart(&source, &earlier, otherwise)?;
        earlier.push(source);
    }
    Ok(())
}

/// Whether the qualified names of a source cannot be those of another one.
fn told_apart(source: &Source<'_>, earlier: &[Source<'_>], otherwise: &str) -> Result<(), String> {
    let Source { kind, issuer, claim } = *source;
    let Some(issuer) = issuer else {
        return match earlier.iter().any(|earlier| earlier.kind == kind) {
            true => Err(format!(
                "two of the ways are `{kind}`, and nothing tells their names apart; make one of them, or \
                 {otherwise}"
            )),
            false => Ok(()),
        };
    };
    if issuer.contains(SEPARATOR) {
        let issuer = issuer.escape_debug();
        return Err(format!("the issuer \"{issuer}\" has a | in it, which divides its name from others"));
    }
    let same = |earlier: &&Source<'_>| (earlier.kind, earlier.issuer) == (kind, Some(issuer));
    match earlier.iter().filter(same).find(|earlier| earlier.claim != claim) {
        Some(other) => {
            let (issuer, one, two) =
                (issuer.escape_debug(), other.claim.escape_debug(), claim.escape_debug());
            Err(format!(
                "names of the issuer \"{issuer}\" are \"{one}\" in one of the ways and \"{two}\" in another, and nothing \
                 tells them apart; take the same `subject` in both, or {otherwise}"
            ))
        }
        None => Ok(()),
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
