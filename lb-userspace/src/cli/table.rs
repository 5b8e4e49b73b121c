//! Tables: upper-case headers, two spaces, no borders, `-` for none.

use comfy_table::{Cell, CellAlignment, Table, presets::NOTHING};

/// One column: a header, and on which side its cells stand.
pub(crate) type Column = (&'static str, CellAlignment);

/// A column of words.
pub(crate) const fn left(header: &'static str) -> Column {
    (header, CellAlignment::Left)
}

/// A column of figures.
pub(crate) const fn right(header: &'static str) -> Column {
    (header, CellAlignment::Right)
}

/// Lays out a table; words of state are painted if `paints`.
pub(crate) fn render<const N: usize>(
    columns: [Column; N],
    rows: impl IntoIterator<Item = [String; N]>,
    paints: bool,
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let aligned = |text: &str, (_, side): Column| Cell::new(text).set_alignment(side);
    table.set_header(columns.map(|column| aligned(column.0, column)));
    for row in rows {
        let cells = row.iter().zip(columns);
        table.add_row(cells.map(|(text, column)| aligned(text, column)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| {
        let line = line.trim_end().to_owned();
        if paints { paint(&line) } else { line }
    });
    lines.map(|line| line + "\n").collect()
}

/// Paints words of state; colour never tells more than the word does.
fn paint(line: &str) -> String {
    line.split_inclusive(' ')
        .map(|piece| {
            let word = piece.trim_end();
            match color(word) {
                Some(color) => piece.replacen(word, &format!("\x1b[{color}m{word}\x1b[0m"), 1),
                None => piece.to_owned(),
            }
        })
        .collect()
}

fn color(word: &str) -> Option<u8> {
    match word {
        "up" | "ok" => Some(32),
        "down" => Some(31),
        "unknown" | "drain" | "maint" | "degraded" => Some(33),
        _ => None,
    }
}

/// `-` for none.
pub(crate) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(paints: bool) -> String {
        let rows = [
            ["b1".to_owned(), "7".to_owned(), "up".to_owned()],
            [
                "10.0.0.12:80".to_owned(),
                "1.2k".to_owned(),
                "down".to_owned(),
            ],
        ];
        render(
            [left("NAME"), right("PACKETS"), left("STATE")],
            rows,
            paints,
        )
    }

    #[test]
    fn columns_stand_two_spaces_apart_without_borders() {
        assert_eq!(
            table(false),
            "NAME          PACKETS  STATE\n\
             b1                  7  up\n\
             10.0.0.12:80     1.2k  down\n"
        );
    }

    #[test]
    fn colour_changes_nothing_else() {
        let painted = table(true);
        assert!(painted.contains("\x1b[32mup\x1b[0m\n"));
        let mut plain = painted;
        for code in ["\x1b[32m", "\x1b[31m", "\x1b[0m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, table(false));
    }
}
