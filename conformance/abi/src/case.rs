//! A case as it is written, and how the files of cases are read.

use crate::terms::Terms;
use crate::token::{Token, words};

/// One case: a row of the ABI, a guest, and what happens to it.
#[derive(Debug, Default, Clone)]
pub struct Case {
    /// The chapter of the reference.
    pub section: String,
    /// What the row is about: a function, a callback or a rule.
    pub subject: String,
    /// What is so.
    pub statement: String,
    /// File and line.
    pub place: String,
    /// Why the host differs from Envoy here, where it does.
    pub differs: Option<String>,
    /// `0.1.0`, `0.2.0` or `0.2.1`.
    pub(crate) abi: String,
    pub(crate) config: String,
    pub(crate) vm_config: String,
    /// More imports, in the text form of WebAssembly.
    pub(crate) imports: String,
    /// More of the module, in the text form of WebAssembly.
    pub(crate) extra: String,
    /// File and test of `conformance/wire` that has the case, where a gateway takes part.
    pub(crate) wire: Option<(String, String)>,
    /// What the plugin may do, and how its pauses are taken.
    pub(crate) terms: Terms,
    /// Parts that the guest lacks: `malloc`, `memory`, `version`.
    pub(crate) without: Vec<String>,
    /// What the guest does in its callbacks, in order.
    pub(crate) acts: Vec<Act>,
    /// What happens.
    pub(crate) events: Vec<Event>,
}

/// One thing that the guest does.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) callback: String,
    pub(crate) what: Doing,
}

#[derive(Debug, Clone)]
pub(crate) enum Doing {
    /// Only that the callback is there.
    Nothing,
    Return(i64),
    Trap,
    /// Grows the memory by that many pages.
    Grow(i64),
    Call(Call),
}

/// A call of a host function, and what comes of it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) line: String,
    pub(crate) module: &'static str,
    pub(crate) function: String,
    pub(crate) arguments: Vec<Token>,
    /// None: the function has no result.
    pub(crate) status: Option<i64>,
    /// Values of the places that the arguments name, in their order.
    pub(crate) outputs: Vec<Token>,
}

/// One thing that happens to the guest, or that is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) line: String,
    pub(crate) words: Vec<Token>,
    pub(crate) wants: Vec<Token>,
}

/// Reads the cases of a file.
///
/// # Panics
/// If a line of it is wrong.
pub fn read(file: &str, text: &str) -> Vec<Case> {
    let mut section = String::new();
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", number + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        let problem = match key {
            "section" => {
                section = rest.to_owned();
                Ok(())
            }
            "row" => row(rest, &section, &place).map(|case| cases.push(case)),
            _ => match cases.last_mut() {
                Some(case) => part(case, key, rest),
                None => Err("nothing belongs to it".to_owned()),
            },
        };
        problem.unwrap_or_else(|problem| panic!("{place}: {problem}"));
    }
    cases
}

fn row(text: &str, section: &str, place: &str) -> Result<Case, String> {
    let (subject, statement) = text.split_once(": ").ok_or("a row is SUBJECT: STATEMENT")?;
    Ok(Case {
        section: section.to_owned(),
        subject: subject.to_owned(),
        statement: statement.to_owned(),
        place: place.to_owned(),
        abi: "0.2.1".to_owned(),
        ..Case::default()
    })
}

fn part(case: &mut Case, key: &str, rest: &str) -> Result<(), String> {
    match key {
        "abi" => case.abi = rest.to_owned(),
        "config" => case.config = rest.to_owned(),
        "vm-config" => case.vm_config = rest.to_owned(),
        "import" => case.imports.push_str(rest),
        "wat" => case.extra.push_str(rest),
        "wire" => {
            let (file, test) = rest.split_once(' ').ok_or("`wire FILE TEST` is missing its TEST")?;
            case.wire = Some((file.to_owned(), test.to_owned()));
        }
        "plugin" => case.terms.read(rest)?,
        "without" => case.without.push(rest.to_owned()),
        "differs" => case.differs = Some(rest.to_owned()),
        "on" => {
            let (callback, act) = rest.split_once(": ").ok_or("`on CALLBACK: ACT` is missing its ACT")?;
            case.acts.push(Act { callback: callback.to_owned(), what: doing(act)? });
        }
        "do" | "see" => {
            let (left, right) = rest.split_once(" => ").unwrap_or((rest, ""));
            let event = Event { line: format!("{key} {rest}"), words: words(left)?, wants: words(right)? };
            case.events.push(event);
        }
        other => return Err(format!("no line starts with {other:?}")),
    }
    Ok(())
}

fn doing(text: &str) -> Result<Doing, String> {
    let (left, right) = text.split_once(" => ").unwrap_or((text, ""));
    let mut left = words(left)?.into_iter();
    let Some(Token::Word(name)) = left.next() else { return Err(format!("{text:?} names nothing")) };
    let arguments: Vec<Token> = left.collect();
    match (name.as_str(), arguments.as_slice()) {
        ("pass", _) => return Ok(Doing::Nothing),
        ("trap", _) => return Ok(Doing::Trap),
        ("return", [Token::Number(number, _)]) => return Ok(Doing::Return(*number)),
        ("grow", [Token::Number(pages, _)]) => return Ok(Doing::Grow(*pages)),
        _ => {}
    }
    let (module, function) = match name.split_once('.') {
        Some(("wasi", function)) => ("wasi_snapshot_preview1", function),
        Some(("unstable", function)) => ("wasi_unstable", function),
        Some(_) => return Err(format!("no module of {name}")),
        None => ("env", name.as_str()),
    };
    let mut right = words(right)?.into_iter();
    let status = match right.next() {
        Some(Token::Number(status, _)) => Some(status),
        Some(Token::Word(void)) if void == "void" => None,
        other => return Err(format!("{text:?} expects {other:?}, not a status")),
    };
    let function = function.to_owned();
    Ok(Doing::Call(Call {
        line: text.to_owned(),
        module,
        function,
        arguments,
        status,
        outputs: right.collect(),
    }))
}
