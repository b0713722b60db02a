//! The page, its sections, and the pages that ask before an action and show its result.

use askama::Template;

use super::{
    button::Button, coming, failures, process::Process, processes, running, runs, section::Section,
    snapshot::Snapshot, types, view::View,
};
use crate::dashboard::queue::action::Action;

/// The page at one moment. Sections that have changed are sent again.
pub(crate) struct Page {
    pub(crate) snapshot: Snapshot,
    pub(crate) view: View,
    pub(crate) has_actions: bool,
    pub(crate) hides_errors: bool,
}

impl Page {
    /// Renders the whole page. `root` leads from it to the paths below.
    pub(crate) fn whole(&self, root: &str) -> askama::Result<String> {
        let sections = self.sections()?;
        let sections = sections.iter().map(|section| (section.id, section.html())).collect();
        let find = self.view.find().unwrap_or_default();
        Document { root, find, process: &self.snapshot.process, sections }.render()
    }

    /// Renders its sections.
    pub(crate) fn sections(&self) -> askama::Result<Vec<Section>> {
        let Self { snapshot, view, has_actions, hides_errors } = self;
        if let Some(found) = &snapshot.found {
            return Ok(vec![snapshot.health.section()?, found.section(*has_actions)?]);
        }
        let (queue, failed) = match &snapshot.queue {
            Some(queue) => (queue.section(*has_actions)?, queue.failed_section(*has_actions)?),
            None => (Section::absent("queue", "No queue")?, Section::absent("failed", "No failed job")?),
        };
        Ok(vec![
            snapshot.health.section()?,
            snapshot.now.section()?,
            failures::section(&snapshot.failures, *has_actions)?,
            types::section(&snapshot.types, view)?,
            snapshot.day.section()?,
            runs::section(&snapshot.runs, view, *hides_errors)?,
            running::section(&snapshot.running, snapshot.now.running, *has_actions)?,
            coming::section(&snapshot.coming, *has_actions)?,
            queue,
            failed,
            processes::section(&snapshot.processes)?,
        ])
    }
}

/// Renders a page that asks before an action. `group` is the key of a group.
pub(crate) fn question(root: &str, back: &str, action: &Action, group: &str) -> askama::Result<String> {
    let button = Button::of(action, group);
    Question { root, back, button }.render()
}

/// Renders a page that says what was done, or why nothing was.
pub(crate) fn answer(root: &str, back: &str, answer: Result<&str, &str>) -> askama::Result<String> {
    let (text, is_done) = match answer {
        Ok(text) => (text, true),
        Err(text) => (text, false),
    };
    Answer { root, back, text, is_done }.render()
}

#[derive(Template)]
#[template(path = "dashboard/page.html")]
struct Document<'a> {
    root: &'a str,
    find: &'a str,
    process: &'a Process,
    sections: Vec<(&'static str, String)>,
}

#[derive(Template)]
#[template(path = "dashboard/question.html")]
struct Question<'a> {
    root: &'a str,
    back: &'a str,
    button: Button,
}

#[derive(Template)]
#[template(path = "dashboard/answer.html")]
struct Answer<'a> {
    root: &'a str,
    back: &'a str,
    text: &'a str,
    is_done: bool,
}
