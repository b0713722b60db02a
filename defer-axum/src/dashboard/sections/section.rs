//! A section of the page, in parts. An open page receives only the parts that have changed.

use std::mem;

use askama::Template;

/// Marks the place of the rows in a section's template.
const ROWS: &str = "<!--rows-->";
/// Marks the start of another part in a row's template.
const PART: &str = "<!--part-->";

/// A section of the page as HTML. User text is escaped, so it cannot contain the markers.
pub(crate) struct Section {
    /// The id of its element.
    pub(crate) id: &'static str,
    /// The HTML before its rows, and the HTML after them.
    pub(crate) frame: [String; 2],
    pub(crate) rows: Vec<Row>,
}

/// The placeholder of an empty section.
#[derive(Template)]
#[template(path = "dashboard/absent.html")]
struct Absent {
    id: &'static str,
    title: &'static str,
}

/// A row, in parts. Only few of them change at a time.
pub(crate) struct Row {
    /// Identifies the row within its section. It is the `data-key` of its element.
    pub(crate) key: String,
    pub(crate) parts: Vec<String>,
}

impl Section {
    /// Creates a section from these templates.
    pub(super) fn new(
        id: &'static str,
        frame: &impl Template,
        rows: impl IntoIterator<Item = askama::Result<Row>>,
    ) -> askama::Result<Self> {
        let mut before = frame.render()?;
        let behind = before.find(ROWS).map(|at| {
            let behind = before.split_off(at);
            behind[ROWS.len()..].to_owned()
        });
        let rows = rows.into_iter().collect::<askama::Result<_>>()?;
        Ok(Self { id, frame: [before, behind.unwrap_or_default()], rows })
    }

    /// Creates an empty section, which is not visible.
    pub(super) fn absent(id: &'static str, title: &'static str) -> askama::Result<Self> {
        Self::new(id, &Absent { id, title }, [])
    }

    /// Returns the whole HTML.
    pub(crate) fn html(&self) -> String {
        let rows = self.rows.iter().flat_map(|row| &row.parts).map(|part| &**part);
        let [before, behind] = &self.frame;
        [&**before].into_iter().chain(rows).chain([&**behind]).collect()
    }
}

impl Row {
    /// Creates a row from this template.
    pub(super) fn new(key: impl Into<String>, row: &impl Template) -> askama::Result<Self> {
        let mut rest = row.render()?;
        let mut parts = Vec::new();
        while let Some(at) = rest.find(PART) {
            let next = rest.split_off(at);
            parts.push(mem::replace(&mut rest, next[PART.len()..].to_owned()));
        }
        parts.push(rest);
        Ok(Self { key: key.into(), parts })
    }
}
