//! The one table: what was budgeted beside what was measured.

use std::fmt::Write as _;

/// What a value counts.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    /// Milliseconds, given in nanoseconds.
    Millis,
    /// Seconds, given in nanoseconds.
    Seconds,
    /// MiB, given in bytes.
    MiB,
    /// KiB, given in bytes.
    KiB,
}

impl Unit {
    fn scale(self) -> (f64, &'static str, usize) {
        match self {
            Self::Millis => (1e6, "ms", 2),
            Self::Seconds => (1e9, "s", 3),
            Self::MiB => (1_048_576.0, "MiB", 1),
            Self::KiB => (1024.0, "KiB", 0),
        }
    }
}

/// Rows in the order they were measured.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<[String; 3]>,
    over: usize,
}

impl Table {
    /// A row of one or more values, each with its budget in the unit shown; none: it is only told.
    pub fn row(&mut self, what: impl Into<String>, unit: Unit, values: &[(f64, Option<f64>)]) {
        let (scale, name, digits) = unit.scale();
        let (mut budgets, mut measured) = (Vec::new(), Vec::new());
        for &(value, budget) in values {
            let value = value / scale;
            let over = budget.is_some_and(|budget| value > budget);
            self.over += usize::from(over);
            budgets.push(budget.map_or_else(|| "–".to_owned(), |budget| budget.to_string()));
            measured.push(format!("{value:.digits$}{}", if over { "!" } else { "" }));
        }
        let [budgets, measured] = [budgets, measured].map(|cells| format!("{} {name}", cells.join(" / ")));
        let row = [what.into(), budgets, measured];
        eprintln!("    {}: {}", row[0], row[2]); // so that one who waits sees that it goes on
        self.rows.push(row);
    }

    /// The table as text.
    pub fn text(&self, conditions: &[String]) -> String {
        let mut text = conditions.join("\n");
        text.push('\n');
        let head = ["", "budget", "measured"].map(str::to_owned);
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (what, budget) = (width(0), width(1).max(6));
        for [a, b, c] in std::iter::once(&head).chain(&self.rows) {
            let _ = writeln!(text, "{a:what$}  {b:budget$}  {c}");
        }
        let _ = match self.over {
            0 => writeln!(text, "all within their budgets"),
            over => writeln!(text, "{over} over budget (!)"),
        };
        text
    }
}

/// The value that `share` of all are not above.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len());
    sorted[rank - 1]
}
