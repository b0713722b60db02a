//! The service as an editor and a reader see it: the real program, over HTTP.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

#[path = "support/program.rs"]
mod program;

use program::Program;

const PROGRAM: &str = env!("CARGO_BIN_EXE_search_index");

impl Program {
    async fn save(&self, edit: u32, text: &'static str) {
        let request = self.client.put(format!("{}/documents/plan/{edit}", self.url)).body(text);
        assert_eq!(request.send().await.unwrap().text().await.unwrap(), "saved plan\n");
    }

    async fn search(&self, word: &str) -> String {
        let url = format!("{}/search?word={word}", self.url);
        self.client.get(url).send().await.unwrap().text().await.unwrap()
    }
}

#[tokio::test]
async fn the_last_of_many_edits_is_indexed_once() {
    // On a busy machine the edits may take longer than a short pause. If so, a longer one follows.
    for pause in ["1000", "30000"] {
        let folder = tempfile::tempdir().unwrap();
        let settings = [("PAUSE_MS", pause), ("LONGEST_MS", "3600000")];
        let mut program = Program::start(PROGRAM, &folder, &settings).await;
        for (edit, text) in [(1, "Tea"), (2, "Tea at"), (3, "Tea at four")] {
            program.save(edit, text).await;
        }
        if program.line("indexed ").await != "plan as of edit 3" {
            continue;
        }
        assert_eq!(program.search("FOUR").await, "plan\n");
        program.save(4, "Coffee at five").await;
        assert_eq!(program.line("indexed ").await, "plan as of edit 4", "nothing else was indexed");
        assert_eq!(
            (program.search("four").await, program.search("coffee").await),
            (String::new(), "plan\n".into())
        );
        return;
    }
    panic!("an edit was indexed that was not the last");
}

#[tokio::test]
async fn who_does_not_pause_is_indexed_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("PAUSE_MS", "3600000"), ("LONGEST_MS", "2000")];
    let mut program = Program::start(PROGRAM, &folder, &settings).await;
    for edit in 1..=3 {
        program.save(edit, "Tea").await;
    }
    program.line("indexed plan as of edit ").await;
    assert_eq!(program.search("tea").await, "plan\n");
}
