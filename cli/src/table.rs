//! Aligned tables: two blanks between columns, numbers to the right, nothing at the end of a line.

use ha_core::text::printable;

use crate::paint::{Painter, Tint};

/// Words go to the left, numbers to the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    tint: Tint,
}

impl Cell {
    /// A field with a meaning that shows as a colour.
    pub fn tinted(text: impl Into<String>, tint: Tint) -> Self {
        Cell {
            tint,
            ..Cell::from(text.into())
        }
    }
}

impl From<String> for Cell {
    /// What agents say is written out plain, one line for each row.
    fn from(text: String) -> Self {
        Cell {
            text: printable(&text).into_owned(),
            tint: Tint::Plain,
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::from(text.to_string())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Cell::from(number.to_string())
    }
}

/// A table that is filled row by row and rendered once.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Columns by name; a name that starts with `>` is aligned to the right.
    pub fn new(columns: &[&'static str]) -> Self {
        let column = |name: &&'static str| match name.strip_prefix('>') {
            Some(name) => (name, Align::Right),
            None => (*name, Align::Left),
        };
        Table {
            columns: columns.iter().map(column).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing fields stay empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let mut row: Vec<Cell> = cells.into_iter().collect();
        row.resize(self.columns.len(), Cell::default());
        self.rows.push(row);
    }

    /// Whether there is nothing below the header.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text. Columns in which no row says anything are left out.
    pub fn render(&self, painter: Painter) -> String {
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|&c| self.rows.iter().any(|row| !row[c].text.is_empty()))
            .collect();
        let width = |c: usize| {
            let widest = self
                .rows
                .iter()
                .map(|row| row[c].text.chars().count())
                .max()
                .unwrap_or(0);
            widest.max(self.columns[c].0.chars().count())
        };
        let widths: Vec<usize> = shown.iter().map(|&c| width(c)).collect();
        let header: Vec<Cell> = self
            .columns
            .iter()
            .map(|(name, _)| Cell::tinted(*name, Tint::Quiet))
            .collect();

        let mut text = String::new();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            let mut owed = 0; // blanks that are written only when something follows
            for (&c, &width) in shown.iter().zip(&widths) {
                let cell = &row[c];
                let blanks = width.saturating_sub(cell.text.chars().count());
                let (before, after) = match self.columns[c].1 {
                    Align::Left => (0, blanks),
                    Align::Right => (blanks, 0),
                };
                if cell.text.is_empty() {
                    owed += width + 2;
                    continue;
                }
                line.extend(std::iter::repeat_n(' ', owed + before));
                line.push_str(&painter.paint(&cell.text, cell.tint));
                owed = after + 2;
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_left_and_numbers_right() {
        let mut table = Table::new(&["SERVER", ">SESSIONS", "NOTE"]);
        table.row(["app/alpha".into(), 3u64.into(), "".into()]);
        table.row(["b/c".into(), 1200u64.into(), "x".into()]);
        let expected = "\
SERVER     SESSIONS  NOTE
app/alpha         3
b/c            1200  x
";
        assert_eq!(table.render(Painter::plain()), expected);
    }

    #[test]
    fn a_reason_makes_no_line_of_its_own() {
        let mut table = Table::new(&["NODE", "NOTE"]);
        table.row(["node-1".into(), "x\n2026  trust  removed\x1b[2J".into()]);
        let text = table.render(Painter::plain());
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn a_column_without_content_is_left_out() {
        let mut table = Table::new(&["A", "B", "C"]);
        table.row(["1".into(), "".into(), "3".into()]);
        assert_eq!(table.render(Painter::plain()), "A  C\n1  3\n");
    }
}
