//! The screen of `tidegate top`.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table, Tabs};

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
    &["Upstream", "Attempts/s", "Retries/s", "No connection/s", "In flight", "Waiting", "Healthy"],
    &["Upstream", "Server", "In flight", "State", "Zone", "Weight"],
    &["Plugin", "Req/s", "A call", "Memory", "Replies", "Traps", "Versions"],
    &["Reason", "Now/s", "Since the start"],
];

/// Share of errors from which on they are shown in red.
const BAD: f64 = 0.01;

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

    /// A line up.
    pub(super) fn up(&mut self) {
        self.first = self.first.saturating_sub(1);
    }
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, view: &View) {
    let heights = [
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(6),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ];
    let [title, tiles, charts, tabs, list, keys] = Layout::vertical(heights).areas(frame.area());
    frame.render_widget(head(model), title);
    frame.render_widget(Paragraph::new(numbers(model)), tiles);
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
    table(frame, list, HEADS[view.tab], &rows, view.first);
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

fn numbers(model: &Model) -> Line<'_> {
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
    let spans = parts.into_iter().flat_map(|(name, value, bad)| {
        let style = Style::new().add_modifier(Modifier::BOLD);
        [
            Span::styled(name, dim),
            Span::styled(value, if bad { style.fg(Color::Red) } else { style }),
            Span::raw("   "),
        ]
    });
    Line::from(spans.collect::<Vec<_>>())
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
    let title = format!("{title}, at most {}", form(most));
    let block = Block::new().title(Span::styled(title, Style::new().fg(Color::DarkGray)));
    frame.render_widget(
        Sparkline::default().block(block).data(scaled).max(1000).style(Style::new().fg(colour)),
        area,
    );
}

fn table(frame: &mut Frame<'_>, area: Rect, heads: &[&str], rows: &[Cells], first: usize) {
    if rows.is_empty() {
        frame.render_widget(Paragraph::new("nothing yet").style(Style::new().fg(Color::DarkGray)), area);
        return;
    }
    let width = |column: usize| {
        let widest = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        widest.unwrap_or(0).max(heads[column].chars().count()).min(40)
    };
    let widths =
        (0..heads.len()).map(|column| Constraint::Length(u16::try_from(width(column)).unwrap_or(40)));
    let first = first.min(rows.len() - 1);
    let body = rows.iter().skip(first).map(|cells| Row::new(cells.iter().map(String::as_str)));
    let head = Row::new(heads.iter().copied()).style(Style::new().fg(Color::DarkGray));
    frame.render_widget(Table::new(body, widths).header(head).column_spacing(3), area);
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::told;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen(view: &View, width: u16) -> String {
        let mut model = Model::new(told(100.0, 1000, 0, 0));
        model.take(told(105.0, 1980, 20, 10));
        let mut terminal = Terminal::new(TestBackend::new(width, 20)).expect("it has a size");
        terminal.draw(|frame| draw(frame, &model, view)).expect("it can be drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_shows_what_flows_and_fails() {
        let mut view = View::default();
        let routes = screen(&view, 100);
        for text in ["edge", "generation 3", "44.0 MiB", "requests/s 200", "errors 1.0 %", "shop", "a, b"] {
            assert!(routes.contains(text), "{text}\n{routes}");
        }
        view.next();
        assert!(screen(&view, 100).contains("1 of 2"));
        view.next();
        assert!(screen(&view, 100).contains("127.0.0.1:1"));
        view.previous();
        view.previous();
        view.previous();
        assert!(screen(&view, 100).contains("upstream_connect"));
    }

    #[test]
    fn a_small_terminal_and_a_list_scrolled_past_its_end_are_drawn() {
        let mut view = View::default();
        (0..99).for_each(|_| view.down());
        assert!(screen(&view, 60).contains("idle"));
        assert!(!screen(&view, 1).is_empty());
    }
}
