//! A mail server whose answers the test controls.

use std::sync::Arc;

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Mutex, Notify, mpsc},
};

pub(crate) struct MailServer {
    pub(crate) url: String,
    answers: mpsc::UnboundedSender<&'static str>,
    mails: mpsc::UnboundedReceiver<String>,
    /// A client has named a recipient.
    asked: Arc<Notify>,
}

impl MailServer {
    /// Starts a server that makes every client that names a recipient wait for [`answer`](Self::answer).
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let (answers, next_answer) = mpsc::unbounded_channel();
        let (received, mails) = mpsc::unbounded_channel();
        let next_answer = Arc::new(Mutex::new(next_answer));
        let asked = Arc::new(Notify::new());
        let told = asked.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (next_answer, received, asked) = (next_answer.clone(), received.clone(), told.clone());
                tokio::spawn(async move {
                    // A client may disconnect at any time.
                    let _ = converse(connection, &asked, &next_answer, &received).await;
                });
            }
        });
        Self { url, answers, mails, asked }
    }

    /// Waits until a client has named a recipient and is waiting for an answer.
    pub(crate) async fn is_asked(&self) {
        self.asked.notified().await;
    }

    /// Answers one recipient: one that is waiting, or the next to come.
    pub(crate) fn answer(&self, answer: &'static str) {
        self.answers.send(answer).unwrap();
    }

    /// Returns the next mail that was accepted.
    pub(crate) async fn mail(&mut self) -> String {
        self.mails.recv().await.unwrap()
    }

    pub(crate) fn has_no_mail(&mut self) -> bool {
        self.mails.try_recv().is_err()
    }
}

async fn converse(
    connection: TcpStream,
    asked: &Notify,
    next_answer: &Mutex<mpsc::UnboundedReceiver<&'static str>>,
    received: &mpsc::UnboundedSender<String>,
) -> std::io::Result<()> {
    let (reader, mut writer) = connection.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 mail.test\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let answer = match line.get(..4).unwrap_or_default() {
            "EHLO" => "250 mail.test",
            "RCPT" => {
                asked.notify_one();
                match next_answer.lock().await.recv().await {
                    Some(answer) => answer,
                    None => return Ok(()), // the test has ended
                }
            }
            "DATA" => {
                writer.write_all(b"354 go on\r\n").await?;
                let mut mail = String::new();
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    mail.push_str(&line);
                    mail.push('\n');
                }
                // An error means that the test has ended.
                let _ = received.send(mail);
                "250 taken"
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        writer.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}
