//! Runs a case: starts its guest, lets happen what it lists, compares statuses, bytes, callbacks, steps and wishes.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tidegate_wasm::{
    Effect, Engine, EngineOptions, Instance, Limits, LogLevel, Now, Plugin, PluginSpec, Shared, Step,
    StreamId,
};

use crate::case::{Call, Case, Event};
use crate::events::{bytes, has, wish};
use crate::guest::{CALLBACKS, calls, module};
use crate::happen::Came;
use crate::token::Token;

pub(crate) const NOW: Now = Now::new(Duration::from_secs(7), Duration::from_secs(1_000_000_000));

/// Everything that went another way than the case says.
///
/// # Errors
/// What it is, one line each.
pub fn run(case: &Case) -> Result<(), String> {
    if let Some((file, test)) = &case.wire {
        return has_test(file, test);
    }
    let mut run = Run {
        case,
        calls: calls(case),
        made: vec![false; calls(case).len()],
        instance: None,
        stream: None,
        callbacks: Vec::new(),
        lines: Vec::new(),
        wishes: Vec::new(),
        token: 0,
        problems: Vec::new(),
    };
    run.all();
    if run.problems.is_empty() { Ok(()) } else { Err(run.problems.join("\n    ")) }
}

/// Whether the tests over sockets have the case; they run it.
fn has_test(file: &str, test: &str) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/tests").join(file);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    match text.contains(&format!("#[test]\nfn {test}()")) {
        true => Ok(()),
        false => Err(format!("{} has no test of the name {test}", path.display())),
    }
}

pub(crate) struct Run<'a> {
    case: &'a Case,
    calls: Vec<&'a Call>,
    /// Which of the calls were made.
    made: Vec<bool>,
    pub(crate) instance: Option<Instance>,
    pub(crate) stream: Option<StreamId>,
    callbacks: Vec<String>,
    lines: Vec<String>,
    wishes: Vec<String>,
    /// Of the last HTTP call.
    pub(crate) token: u32,
    problems: Vec<String>,
}

impl Run<'_> {
    fn all(&mut self) {
        let starts = |event: &Event| has(&event.words, "start");
        if !self.case.events.iter().any(starts)
            && let Err(error) = self.start()
        {
            self.problems.push(format!("the guest did not start: {error}"));
            return;
        }
        let events = self.case.events.clone();
        for event in &events {
            if event.line.starts_with("see") {
                self.see(event);
                continue;
            }
            let came = self.happen(event);
            self.drain();
            self.compare(event, came);
        }
        let refused = |event: &Event| event.wants.first() == Some(&Token::Word("refused".to_owned()));
        if self.case.events.iter().any(refused) {
            return;
        }
        let unmade: Vec<&str> = self
            .calls
            .iter()
            .zip(&self.made)
            .filter(|(_, made)| !**made)
            .map(|(c, _)| c.line.as_str())
            .collect();
        if !unmade.is_empty() {
            self.problems.push(format!("never called: {}", unmade.join("; ")));
        }
    }

    pub(crate) fn start(&mut self) -> Result<(), String> {
        let wasm = wat::parse_str(module(self.case)).map_err(|error| error.to_string())?;
        let code = engine().compile(&wasm).map_err(|error| error.to_string())?;
        let spec = PluginSpec {
            name: "plugin".to_owned(),
            root_id: "root".to_owned(),
            vm_id: String::new(),
            module: code,
            config: Bytes::from(self.case.config.clone()),
            vm_config: Bytes::from(self.case.vm_config.clone()),
            environment: vec![("REGION".to_owned(), "eu".to_owned())],
            limits: Limits::default(),
            callable: vec!["auth".to_owned()],
            capabilities: self.case.terms.capabilities.clone(),
            on_headers_pause: self.case.terms.on_headers_pause,
        };
        let plugin =
            Plugin::build(engine(), spec, Arc::new(Shared::new())).map_err(|error| error.to_string())?;
        plugin.set_log_level(LogLevel::Trace);
        let instance = Instance::start(&Arc::new(plugin), NOW).map_err(|error| error.to_string())?;
        self.instance = Some(instance);
        self.drain();
        Ok(())
    }

    fn compare(&mut self, event: &Event, came: Came) {
        let mut seen = Vec::new();
        let step = match came {
            Came::Nothing => String::new(),
            Came::Refused(message) => {
                seen.push(message);
                "refused".to_owned()
            }
            Came::Trap(trap) | Came::Step(Err(trap), _) => {
                seen.push(trap.to_string());
                "trap".to_owned()
            }
            Came::Step(Ok(step), part) => {
                if step == Step::Continue {
                    seen = self.take(part);
                }
                format!("{step:?}")
            }
        };
        let mut wants = event.wants.iter();
        let plain = matches!(event.wants.first(), Some(Token::Word(word))
            if word.starts_with(|c: char| c.is_ascii_uppercase()) || word == "trap" || word == "refused");
        if plain && let Some(Token::Word(wanted)) = wants.next() {
            if *wanted != step {
                self.problems.push(format!("{}: {step:?}, {seen:?}", event.line));
                return;
            }
        } else if step == "trap" || step == "refused" {
            self.problems.push(format!("{}: {step}, {seen:?}", event.line));
        }
        for want in wants {
            let holds = match want {
                Token::Bytes(bytes) if step == "trap" || step == "refused" => {
                    seen.iter().any(|text| text.contains(&*String::from_utf8_lossy(bytes)))
                }
                Token::Bytes(bytes) => seen.first().is_some_and(|s| *s == String::from_utf8_lossy(bytes)),
                Token::Word(word) => match word.strip_prefix('!') {
                    Some(name) => !seen.iter().any(|field| field.starts_with(&format!("{name}="))),
                    None => seen.contains(word),
                },
                Token::Number(..) => false,
            };
            if !holds {
                self.problems.push(format!("{}: not {want:?} but {seen:?}", event.line));
            }
        }
    }

    fn see(&mut self, event: &Event) {
        let text = String::from_utf8_lossy(&bytes(&event.words)).into_owned();
        let Some(Token::Word(what)) = event.words.first() else { return };
        let (holds, seen) = match what.as_str() {
            "effect" => {
                let at = self.wishes.iter().position(|wish| wish.contains(&text));
                let seen = format!("{:?}", self.wishes);
                (at.map(|at| self.wishes.remove(at)).is_some(), seen)
            }
            "no-effect" => (self.wishes.is_empty(), format!("{:?}", self.wishes)),
            "line" => (self.lines.iter().any(|line| line.contains(&text)), format!("{:?}", self.lines)),
            "callbacks" => (self.callbacks.join(" ") == text, self.callbacks.join(" ")),
            "poisoned" => {
                let trap = self.instance.as_ref().and_then(Instance::poisoned).map(ToString::to_string);
                (trap.as_ref().is_some_and(|trap| trap.contains(&text)), format!("{trap:?}"))
            }
            _ => (false, "a line of a case that means nothing".to_owned()),
        };
        if !holds {
            self.problems.push(format!("{}: {seen}", event.line));
        }
    }

    /// Reads what the guest has logged, and notes what it wishes.
    fn drain(&mut self) {
        while let Some(effect) = self.instance.as_mut().and_then(Instance::poll_effect) {
            match effect {
                Effect::Log { level, message, .. } => match message.as_bytes().first() {
                    Some(b'@') => self.callback(&message[1..]),
                    Some(b'#') => self.call(&message[1..]),
                    _ => self.lines.push(format!("{level:?}: {message}")),
                },
                other => {
                    match &other {
                        Effect::HttpCall { token, .. } => self.token = *token,
                        Effect::GrpcCall(call) => self.token = call.token,
                        Effect::Foreign { token, .. } => self.token = *token,
                        _ => {}
                    }
                    self.wishes.push(wish(&other));
                }
            }
        }
    }

    fn callback(&mut self, line: &str) {
        let mut numbers = line.split(':').filter_map(|hex| u32::from_str_radix(hex, 16).ok());
        let name = numbers.next().and_then(|at| CALLBACKS.get(at as usize)).map_or("?", |(name, ..)| name);
        let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
        self.callbacks.push(format!("{name}({})", numbers.join(",")));
    }

    fn call(&mut self, line: &str) {
        let mut parts = line.split(':');
        let mut number = || parts.next().and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let (Some(at), Some(status)) = (number(), number()) else { return };
        let Some(call) = self.calls.get(at as usize) else { return };
        self.made[at as usize] = true;
        if call.status.is_some_and(|wanted| wanted != i64::from(status)) {
            self.problems.push(format!("{}: status {status}", call.line));
            return;
        }
        for wanted in &call.outputs {
            let hex = parts.next().unwrap_or_default();
            let bytes: Vec<u8> = (0..hex.len() / 2)
                .filter_map(|at| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok())
                .collect();
            let holds = match wanted {
                Token::Bytes(wanted) => *wanted == bytes,
                Token::Number(wanted, _) => {
                    let mut all = [0; 8];
                    let len = bytes.len().min(8);
                    all[..len].copy_from_slice(&bytes[..len]);
                    (len == 4 || len == 8) && u64::from_le_bytes(all) == wanted.cast_unsigned()
                }
                Token::Word(word) => word == "?",
            };
            if !holds {
                self.problems.push(format!("{}: {:?}", call.line, String::from_utf8_lossy(&bytes)));
            }
        }
    }
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let engine =
            Engine::new(EngineOptions { cache_dir: None, epoch_tick: Duration::from_millis(1) }).unwrap();
        engine.name_node("machine".to_owned());
        engine
    })
}
