//! A page of metrics: as Prometheus reads it, as OpenMetrics has it, or taken apart for OpenTelemetry.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use crate::shared::durations::Steps;
use crate::shared::traffic::{Exemplar, Total};

/// What a page is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Prometheus' text format, 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
    /// [`Family`]s.
    Points,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
    /// How many, and their sum.
    Summary,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// A metric with all of its series.
#[derive(Debug, Clone)]
pub struct Family {
    /// As Prometheus has it.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// In a sentence.
    pub help: String,
    /// One for each combination of labels.
    pub points: Vec<Point>,
}

/// One series' value.
#[derive(Debug, Clone)]
pub struct Point {
    /// Names and values.
    pub labels: Vec<(String, String)>,
    /// What it is now.
    pub value: Value,
}

/// A value that is not text yet.
#[derive(Debug, Clone)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(Number),
    /// Of a histogram or a summary, which has no buckets.
    Buckets(Buckets),
    /// Of a histogram of durations.
    Durations(Durations),
}

/// Durations in both ways, and requests that stand for others.
#[derive(Debug, Clone, Default)]
pub struct Durations {
    /// As they are shown.
    pub buckets: Buckets,
    /// The index of the first of [`Durations::counts`] at OpenTelemetry's scale 2.
    pub first: i32,
    /// Four to a doubling.
    pub counts: Vec<u64>,
    /// A trace, how long it took, and when; since the Unix epoch.
    pub exemplars: Vec<(u128, Duration, Duration)>,
}

/// Counts by size.
#[derive(Debug, Clone, Default)]
pub struct Buckets {
    /// Upper bounds with the number of all up to them, without the last, which is all.
    pub below: Vec<(f64, u64)>,
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

/// A number as it was counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole number.
    Whole(u64),
    /// One that may be below zero.
    Signed(i64),
    /// Any other.
    Real(f64),
}

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Signed(number) => number.fmt(f),
            Self::Real(number) => number.fmt(f),
        }
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<bool> for Number {
    fn from(is: bool) -> Self {
        Self::Whole(u64::from(is))
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Self::Signed(number)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Page {
    form: Form,
    text: String,
    families: Vec<Family>,
    /// The metric that is being written, in a text.
    name: String,
    kind: Kind,
}

/// Labels of a series.
pub(crate) type Labels<'a> = [(&'a str, &'a str)];

impl Page {
    /// An empty one.
    pub fn new(form: Form) -> Self {
        let room = if form == Form::Points { 0 } else { 64 << 10 };
        let text = String::with_capacity(room);
        Self { form, text, families: Vec::new(), name: String::new(), kind: Kind::Gauge }
    }

    /// The whole text.
    pub fn into_text(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// The metrics, of a page of [`Form::Points`].
    pub fn into_families(self) -> Vec<Family> {
        self.families
    }

    /// Begins a metric; its samples follow.
    pub fn metric(&mut self, name: &str, kind: Kind, help: &str) {
        if self.form == Form::Points {
            let (name, help) = (name.to_owned(), help.to_owned());
            self.families.push(Family { name, kind, help, points: Vec::new() });
            return;
        }
        name.clone_into(&mut self.name);
        self.kind = kind;
        // OpenMetrics names a counter without the ending that its samples have.
        let family = match (self.form, kind) {
            (Form::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        // Writing to a string cannot fail.
        _ = writeln!(self.text, "# HELP {family} {help}\n# TYPE {family} {}", kind.word());
    }

    /// A value of the metric that was begun last.
    pub fn sample(&mut self, labels: &Labels<'_>, value: impl Into<Number>) {
        let value = value.into();
        if self.form == Form::Points {
            return self.point(labels, Value::Number(value));
        }
        self.series("", labels, None);
        _ = match value {
            Number::Whole(number) => {
                self.text.push_str(itoa::Buffer::new().format(number));
                writeln!(self.text)
            }
            other => writeln!(self.text, "{other}"),
        };
    }

    /// A metric with one value and no labels.
    pub fn one(&mut self, name: &str, kind: Kind, help: &str, value: impl Into<Number>) {
        self.metric(name, kind, help);
        self.sample(&[], value);
    }

    /// Counts by size, or how many and their sum, of the metric that was begun last.
    pub fn buckets(&mut self, labels: &Labels<'_>, buckets: &Buckets) {
        if self.form == Form::Points {
            return self.point(labels, Value::Buckets(buckets.clone()));
        }
        if self.kind == Kind::Histogram {
            for (bound, below) in &buckets.below {
                self.bucket(labels, *bound, *below);
                self.text.push('\n');
            }
            self.bucket(labels, f64::INFINITY, buckets.count);
            self.text.push('\n');
        }
        self.sum_and_count(labels, buckets.sum, buckets.count);
    }

    /// The durations of what was counted, with its exemplars.
    pub(crate) fn durations(&mut self, labels: &Labels<'_>, total: &Total, steps: Steps) {
        let took = &total.took;
        if self.form == Form::Points {
            let (first, counts) = took.exponential();
            let below = took.cumulative(steps).collect();
            let exemplar = |one: &Exemplar| (one.trace.trace, one.took, one.trace.noted);
            let durations = Durations {
                buckets: Buckets { below, count: took.count(), sum: took.seconds() },
                first,
                counts: counts.to_vec(),
                exemplars: total.exemplars.iter().map(exemplar).collect(),
            };
            return self.point(labels, Value::Durations(durations));
        }
        let all = took.cumulative(steps).chain([(f64::INFINITY, took.count())]);
        let mut before = 0.0;
        for (bound, below) in all {
            self.bucket(labels, bound, below);
            if self.form == Form::OpenMetrics
                && let Some(exemplar) = total.exemplar(before, bound)
            {
                // Without a time: a page of a thousand routes stays below 5 MiB, and the scrape has one.
                let (trace, value) = (exemplar.trace.trace, exemplar.took.as_secs_f64());
                _ = write!(self.text, " # {{trace_id=\"{trace:032x}\"}} {value:?}");
            }
            self.text.push('\n');
            before = bound;
        }
        self.sum_and_count(labels, took.seconds(), took.count());
    }

    fn bucket(&mut self, labels: &Labels<'_>, bound: f64, below: u64) {
        self.series("_bucket", labels, Some(bound));
        self.text.push_str(itoa::Buffer::new().format(below));
    }

    fn sum_and_count(&mut self, labels: &Labels<'_>, sum: f64, count: u64) {
        self.series("_sum", labels, None);
        _ = writeln!(self.text, "{sum}");
        self.series("_count", labels, None);
        _ = writeln!(self.text, "{count}");
    }

    /// A series' name and labels, with the space before its value.
    fn series(&mut self, ending: &str, labels: &Labels<'_>, bound: Option<f64>) {
        self.text.push_str(&self.name);
        self.text.push_str(ending);
        let mut before = '{';
        for (label, text) in labels {
            self.text.push(before);
            before = ',';
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(&mut self.text, text);
            self.text.push('"');
        }
        if let Some(bound) = bound {
            self.text.push(before);
            before = ',';
            _ = match bound {
                f64::INFINITY => write!(self.text, "le=\"+Inf\""),
                bound => write!(self.text, "le=\"{bound:?}\""),
            };
        }
        self.text.push_str(if before == '{' { " " } else { "} " });
    }

    fn point(&mut self, labels: &Labels<'_>, value: Value) {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        if let Some(family) = self.families.last_mut() {
            family.points.push(Point { labels, value });
        }
    }
}

fn escape(out: &mut String, text: &str) {
    if !text.contains(['"', '\\', '\n']) {
        return out.push_str(text);
    }
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::PerWorker;
    use crate::shared::traffic::{End, TraceId, Traffic};

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::new(Form::Prometheus);
        page.metric("a", Kind::Gauge, "What.");
        page.sample(&[("b", "c\"d\\e\nf"), ("g", "h")], 1.5);
        assert_eq!(
            page.into_text(),
            "# HELP a What.\n# TYPE a gauge\na{b=\"c\\\"d\\\\e\\nf\",g=\"h\"} 1.5\n"
        );
    }

    #[test]
    fn open_metrics_differ_in_names_and_the_end() {
        let mut page = Page::new(Form::OpenMetrics);
        page.one("a_total", Kind::Counter, "What.", 2u64);
        assert_eq!(page.into_text(), "# HELP a What.\n# TYPE a counter\na_total 2\n# EOF\n");
    }

    #[test]
    fn a_bucket_has_its_exemplar() {
        let cells = PerWorker::<Traffic>::new(1);
        let trace = TraceId { trace: 0xab, noted: Duration::from_millis(1_234_005) };
        let took = Duration::from_millis(300);
        cells.of(0).note(&End { class: 1, reason: None, took, trace: Some(trace) });
        let total = Total::of(&cells, |traffic| traffic);
        let mut page = Page::new(Form::OpenMetrics);
        page.metric("took_seconds", Kind::Histogram, "How long.");
        page.durations(&[("a", "b")], &total, Steps::Doubling);
        let text = page.into_text();
        let expected =
            "took_seconds_bucket{a=\"b\",le=\"0.5\"} 1 # {trace_id=\"000000000000000000000000000000ab\"} 0.3";
        assert!(text.lines().any(|line| line == expected), "{text}");
        assert_eq!(text.matches(" # {").count(), 1, "{text}");
        for line in ["took_seconds_bucket{a=\"b\",le=\"+Inf\"} 1", "took_seconds_sum{a=\"b\"} 0.3"] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
    }
}
