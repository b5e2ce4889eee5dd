//! The screen of `tidegate top`.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table, Tabs};

use super::model::{Cells, Model, bytes, duration, number, percent};

/// Which table is shown, from which line on.
#[derive(Default)]
pub(super) struct View {
    tab: usize,
    first: usize,
}

const TABS: [&str; 5] = ["Routes", "Upstreams", "Servers", "Plugins", "Failures"];

const HEADS: [&[&str]; 5] = [
    &["Route", "Req/s", "4xx", "5xx", "Upstreams"],
    &["Upstream", "Attempts/s", "Retries/s", "No conn./s", "In flight", "Waiting", "Healthy"],
    &["Upstream", "Server", "In flight", "State", "Zone", "Weight"],
    &["Plugin", "Req/s", "Per call", "Memory", "Replies", "Traps", "Versions"],
    &["Reason", "Now/s", "Since the start"],
];

/// Columns that hold numbers, by table.
const NUMBERS: [&[usize]; 5] = [&[1, 2, 3], &[1, 2, 3, 4, 5], &[2, 5], &[1, 2, 3, 4, 5], &[1, 2]];

/// Share of errors from which on they are shown in red.
const BAD: f64 = 0.01;

/// Between columns, and between the numbers above the charts.
const GAP: u16 = 2;

impl View {
    /// The table after this one.
    pub(super) fn next(&mut self) {
        *self = Self { tab: (self.tab + 1) % TABS.len(), first: 0 };
    }

    /// The table before this one.
    pub(super) fn previous(&mut self) {
        *self = Self { tab: (self.tab + TABS.len() - 1) % TABS.len(), first: 0 };
    }

    /// A line down.
    pub(super) fn down(&mut self) {
        self.first += 1;
    }

    /// Keeps the last line in sight; the first of the lines that are.
    fn within(&mut self, lines: usize) -> usize {
        self.first = self.first.min(lines.saturating_sub(1));
        self.first
    }

    /// A line up.
    pub(super) fn up(&mut self) {
        self.first = self.first.saturating_sub(1);
    }
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, view: &mut View) {
    let refused = refused(model);
    let heights = [
        Constraint::Length(1),
        Constraint::Length(refused.is_some().into()),
        Constraint::Length(2),
        Constraint::Length(6),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ];
    let [title, problem, tiles, charts, tabs, list, keys] = Layout::vertical(heights).areas(frame.area());
    frame.render_widget(head(model), title);
    frame.render_widget(
        Paragraph::new(refused.unwrap_or_default()).style(Style::new().fg(Color::Red)),
        problem,
    );
    frame.render_widget(Paragraph::new(numbers(model, tiles.width)), tiles);
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(charts);
    let rates = model.points.iter().map(|point| point.rate);
    line(frame, left, "Requests a second", rates, Color::Cyan, number);
    let times = model.points.iter().map(|point| point.p99.unwrap_or(0.0));
    line(frame, right, "p99", times, Color::Green, |seconds| duration(Some(seconds)));
    let shown =
        Tabs::new(TABS).select(view.tab).highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_widget(shown, tabs);
    let rows = match view.tab {
        0 => model.routes(),
        1 => model.upstreams(),
        2 => model.servers(),
        3 => model.plugins(),
        _ => model.failures(),
    };
    let first = view.within(rows.len());
    table(frame, list, view.tab, &rows, first);
    frame.render_widget(
        Paragraph::new("Tab next table   ↑↓ scroll   q quit").style(Style::new().fg(Color::DarkGray)),
        keys,
    );
}

fn head(model: &Model) -> Line<'_> {
    let now = model.now();
    let (text, colour) = match &model.trouble {
        Some(why) => (why.clone(), Color::Red),
        None if now.rejected.is_some() => ("configuration refused".to_owned(), Color::Red),
        None if now.draining => ("draining".to_owned(), Color::Yellow),
        None if now.served < now.stats.generation => {
            (format!("generation {} on its way", now.stats.generation), Color::Yellow)
        }
        None => (format!("generation {}", now.stats.generation), Color::Green),
    };
    let about = format!(
        " {}   up {}   {}   ",
        now.version,
        duration(Some(now.time - now.started)),
        bytes(now.memory_bytes)
    );
    Line::from(vec![
        Span::styled(now.name.as_str(), Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(about),
        Span::styled(text, Style::new().fg(colour)),
    ])
}

/// What flows, in a second line what has no room in the first.
fn numbers(model: &Model, width: u16) -> Text<'static> {
    let flow = model.flow();
    let stats = &model.now().stats;
    let dim = Style::new().fg(Color::DarkGray);
    let bad = flow.is_some_and(|flow| flow.errors > BAD);
    let parts = [
        ("requests/s ", flow.map_or("–".to_owned(), |flow| number(flow.rate)), false),
        ("errors ", flow.map_or("–".to_owned(), |flow| percent(flow.errors)), bad),
        ("p50 ", duration(flow.and_then(|flow| flow.p50)), false),
        ("p99 ", duration(flow.and_then(|flow| flow.p99)), false),
        ("in flight ", stats.requests.active.to_string(), false),
        ("connections ", stats.connections.open.to_string(), false),
    ];
    let (mut lines, mut taken) = (vec![Line::default()], 0);
    for (name, value, bad) in parts {
        let style = Style::new().add_modifier(Modifier::BOLD);
        let value = Span::styled(value, if bad { style.fg(Color::Red) } else { style });
        let own = name.chars().count() + value.width();
        if taken + own > usize::from(width) && taken > 0 {
            (taken, lines) = (0, [lines, vec![Line::default()]].concat());
        }
        taken += own + usize::from(GAP);
        if let Some(line) = lines.last_mut() {
            line.extend([Span::styled(name, dim), value, Span::raw(" ".repeat(GAP.into()))]);
        }
    }
    Text::from(lines)
}

/// The newest points, as many as there is room for.
fn line(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    points: impl ExactSizeIterator<Item = f64>,
    colour: Color,
    form: impl Fn(f64) -> String,
) {
    let skipped = points.len().saturating_sub(usize::from(area.width));
    let points: Vec<f64> = points.skip(skipped).collect();
    let most = points.iter().copied().fold(0.0, f64::max);
    let scaled: Vec<u64> =
        points.iter().map(|point| if most > 0.0 { (point / most * 1000.0) as u64 } else { 0 }).collect();
    let title = format!("{title}, peak {}", form(most));
    let block = Block::new().title(Span::styled(title, Style::new().fg(Color::DarkGray)));
    frame.render_widget(
        Sparkline::default().block(block).data(scaled).max(1000).style(Style::new().fg(colour)),
        area,
    );
}

fn table(frame: &mut Frame<'_>, area: Rect, tab: usize, rows: &[Cells], first: usize) {
    if rows.is_empty() {
        frame.render_widget(Paragraph::new("nothing yet").style(Style::new().fg(Color::DarkGray)), area);
        return;
    }
    let (heads, numbers) = (HEADS[tab], NUMBERS[tab]);
    let width = |column: usize| {
        let widest = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        widest.unwrap_or(0).max(heads[column].chars().count())
    };
    let wanted: Vec<usize> = (0..heads.len()).map(width).collect();
    let widths = widths(&wanted, numbers, area.width.into()).into_iter().map(Constraint::Length);
    let cell = |column: usize, text: &str| {
        let text = Text::raw(text.to_owned());
        Cell::new(if numbers.contains(&column) { text.right_aligned() } else { text })
    };
    let body = rows.iter().skip(first).map(|cells| {
        let row = cells.iter().enumerate().map(|(column, text)| {
            let shown = cell(column, text);
            if is_bad(heads[column], text) { shown.style(Style::new().fg(Color::Red)) } else { shown }
        });
        Row::new(row)
    });
    let head = Row::new(heads.iter().enumerate().map(|(column, text)| cell(column, text)));
    let head = head.style(Style::new().fg(Color::DarkGray));
    frame.render_widget(Table::new(body, widths).header(head).column_spacing(GAP), area);
}

/// Whether a cell is worth a second look.
fn is_bad(head: &str, text: &str) -> bool {
    let number = || text.split(' ').next().and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0);
    match head {
        "5xx" => number() >= BAD * 100.0,
        "No conn./s" | "Traps" => number() > 0.0,
        "State" => text != "healthy",
        "Healthy" => text.split_once(" of ").is_some_and(|(well, all)| well != all),
        _ => false,
    }
}

/// How wide columns are: numbers as they are, and texts share what is left. Short ones have what they want, so that long
/// names take nothing from them; what nobody wants is the last one's, if it is a text.
fn widths(wanted: &[usize], numbers: &[usize], room: usize) -> Vec<u16> {
    let gaps = usize::from(GAP) * wanted.len().saturating_sub(1);
    let fixed: usize = numbers.iter().filter_map(|column| wanted.get(*column)).sum();
    let mut left = room.saturating_sub(gaps + fixed);
    let mut widths = wanted.to_vec();
    let mut texts: Vec<usize> = (0..wanted.len()).filter(|column| !numbers.contains(column)).collect();
    texts.sort_by_key(|column| wanted[*column]);
    for (done, column) in texts.iter().enumerate() {
        widths[*column] = wanted[*column].min(left / (texts.len() - done));
        left -= widths[*column];
    }
    // A number stays beside what it is about.
    if let Some(last) = widths.len().checked_sub(1).filter(|last| !numbers.contains(last)) {
        widths[last] += left;
    }
    widths.into_iter().map(|width| u16::try_from(width).unwrap_or(u16::MAX)).collect()
}

/// The first problem of a configuration that was refused, and how many there are besides.
fn refused(model: &Model) -> Option<String> {
    let problems = model.now().rejected.as_ref()?["problems"].as_array()?;
    let first = problems.first()?;
    let text = |key: &str| first[key].as_str().unwrap_or_default();
    let line = first["line"].as_u64().map(|line| format!(":{line}")).unwrap_or_default();
    let path = Some(text("path"))
        .filter(|path| !path.is_empty())
        .map(|path| format!(" {path}:"))
        .unwrap_or_default();
    let more = match problems.len() {
        1 => String::new(),
        all => format!(" (and {} more)", all - 1),
    };
    Some(format!("{}{line}:{path} {}{more}", text("source"), text("message")))
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::told;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen(view: &mut View, width: u16) -> String {
        let mut model = Model::new(told(100.0, 1000, 0, 0));
        model.take(told(105.0, 1980, 20, 10));
        let mut terminal = Terminal::new(TestBackend::new(width, 20)).expect("it has a size");
        terminal.draw(|frame| draw(frame, &model, view)).expect("it can be drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_shows_what_flows_and_fails() {
        let mut view = View::default();
        let routes = screen(&mut view, 100);
        for text in ["edge", "generation 3", "44.0 MiB", "requests/s 200", "errors 1.0 %", "shop", "a, b"] {
            assert!(routes.contains(text), "{text}\n{routes}");
        }
        view.next();
        assert!(screen(&mut view, 100).contains("1 of 2"));
        view.next();
        assert!(screen(&mut view, 100).contains("127.0.0.1:1"));
        view.previous();
        view.previous();
        view.previous();
        assert!(screen(&mut view, 100).contains("upstream_connect"));
    }

    #[test]
    fn a_small_terminal_and_a_list_scrolled_past_its_end_are_drawn() {
        let mut view = View::default();
        (0..99).for_each(|_| view.down());
        assert!(screen(&mut view, 60).contains("idle"));
        assert!(!screen(&mut view, 1).is_empty());
        view.up();
        assert!(screen(&mut view, 60).contains("shop"), "one line up from the last one");
    }

    #[test]
    fn eighty_columns_are_enough() {
        let mut view = View::default();
        let routes = screen(&mut view, 80);
        assert!(routes.contains("connections 4"), "{routes}");
        view.next();
        let upstreams = screen(&mut view, 80);
        for head in HEADS[1] {
            assert!(upstreams.contains(head), "{head}\n{upstreams}");
        }
    }

    #[test]
    fn long_names_take_nothing_from_short_columns_and_have_what_is_left() {
        // A name of 100 characters, four numbers of 10, and a state of 7.
        assert_eq!(widths(&[100, 10, 10, 10, 10, 7], &[1, 2, 3, 4], 80), [23, 10, 10, 10, 10, 7]);
        assert_eq!(widths(&[100, 10, 10, 10, 10, 7], &[1, 2, 3, 4], 200), [100, 10, 10, 10, 10, 50]);
        assert_eq!(widths(&[100, 5, 100], &[1], 89), [40, 5, 40]);
        assert_eq!(widths(&[30, 5], &[1], 80), [30, 5], "a number is not drawn away");
        assert_eq!(widths(&[30, 5], &[1], 3), [0, 5], "no room");
    }

    #[test]
    fn a_refused_configuration_is_told_with_its_first_problem() {
        let mut now = told(105.0, 1980, 20, 10);
        now.rejected = Some(serde_json::json!({ "since": 1.0, "problems": [
            { "source": "a.yaml", "line": 9, "path": "routes[0].respnd", "message": "unknown key \"respnd\"", "hint": null, "severity": "error" },
            { "source": "a.yaml", "line": null, "path": "", "message": "another", "hint": null, "severity": "error" },
        ] }));
        let mut terminal = Terminal::new(TestBackend::new(80, 20)).expect("it has a size");
        terminal.draw(|frame| draw(frame, &Model::new(now), &mut View::default())).expect("it can be drawn");
        let screen = terminal.backend().to_string();
        let told = "a.yaml:9: routes[0].respnd: unknown key \"respnd\" (and 1 more)";
        assert!(screen.contains("configuration refused") && screen.contains(told), "{screen}");
    }
}
