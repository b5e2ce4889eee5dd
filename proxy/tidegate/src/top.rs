//! `tidegate top`: what a running gateway does, in the terminal. It asks the admin API once a second.

mod model;
mod screen;

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::Method;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout};

use crate::cli::TopArgs;
use crate::credentials::Asking;
use crate::fetch::Call;
use crate::run::on_control_thread;
use model::{Model, Told};
use screen::{View, draw};

/// Shows the gateway until the user has seen enough.
pub(crate) fn run(args: &TopArgs) -> Result<ExitCode> {
    let source = args.credentials.asking(args.admin(), "/stats")?;
    let socket = args.admin().strip_prefix("unix:").map(|path| format!("--unix-socket {path} "));
    let socket = socket.unwrap_or_default();
    on_control_thread(async move {
        // The first answer comes before the screen is taken: what is wrong is told as text.
        let first = ask(&source).await?;
        if !stdout().is_terminal() {
            bail!("standard output is no terminal; `curl {socket}{}` tells the same", source.url);
        }
        let mut terminal = ratatui::init();
        let result = show(&mut terminal, &source, first).await;
        ratatui::restore();
        result
    })
}

/// What the gateway tells now.
async fn ask(Asking { client, url, headers }: &Asking) -> Result<Told> {
    let headers = headers.clone();
    let call = Call { method: Method::GET, url, headers, body: Default::default(), limit: LARGEST };
    let answer = timeout(PATIENCE, client.send(call)).await;
    let answer = answer.with_context(|| format!("{url}: no answer in time"))?.map_err(anyhow::Error::msg)?;
    if !answer.status.is_success() {
        bail!("{url}: answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body).trim());
    }
    serde_json::from_slice(&answer.body).with_context(|| format!("{url} is no gateway's"))
}

async fn show(terminal: &mut DefaultTerminal, source: &Asking, first: Told) -> Result<ExitCode> {
    let (mut model, mut view) = (Model::new(first), View::default());
    let mut keys = keys();
    let mut turns = tokio::time::interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        terminal.draw(|frame| draw(frame, &model, &mut view)).context("the terminal cannot be drawn")?;
        tokio::select! {
            _ = turns.tick() => match ask(source).await {
                Ok(told) => model.take(told),
                Err(error) => model.trouble = Some(format!("{error:#}")),
            },
            key = keys.recv() => match key {
                None | Some(Key::Quit) => return Ok(ExitCode::SUCCESS),
                Some(Key::Next) => view.next(),
                Some(Key::Previous) => view.previous(),
                Some(Key::Down) => view.down(),
                Some(Key::Up) => view.up(),
                Some(Key::Redraw) => {}
            },
        }
    }
}

enum Key {
    Quit,
    Next,
    Previous,
    Up,
    Down,
    Redraw,
}

/// Reads the keyboard on a thread of its own, which ends with the process.
fn keys() -> mpsc::Receiver<Key> {
    let (sender, receiver) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let key = match event {
                Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
                    KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
                    KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => Key::Next,
                    KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => Key::Previous,
                    KeyCode::Down | KeyCode::Char('j') => Key::Down,
                    KeyCode::Up | KeyCode::Char('k') => Key::Up,
                    _ => continue,
                },
                Event::Resize(..) => Key::Redraw,
                _ => continue,
            };
            if sender.blocking_send(key).is_err() {
                return;
            }
        }
    });
    receiver
}

const EVERY: Duration = Duration::from_secs(1);

const PATIENCE: Duration = Duration::from_secs(5);

const LARGEST: usize = 64 << 20;

/// Keys that may wait.
const KEYS: usize = 16;
