//! A Postgres server that a test can stop and start.

use std::{net::TcpListener, path::PathBuf, process::Command};

use tempfile::TempDir;

/// A server that stops when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

impl Cluster {
    /// Creates a server, and starts it.
    pub async fn start() -> Self {
        tokio::task::spawn_blocking(|| {
            let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
            let programs = installed.map(|version| version.unwrap().path().join("bin")).max();
            let folder = tempfile::tempdir().unwrap();
            // Nothing else should listen on this port: it was free a moment ago.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let cluster = Self { folder, programs: programs.unwrap_or_default(), port };
            if is_root() {
                let given = Command::new("chown").arg("postgres").arg(cluster.folder.path()).status();
                assert!(given.unwrap().success());
            }
            cluster.run("initdb", &["-A", "trust", "-U", "postgres", "-D", &cluster.data()]);
            cluster.begin();
            cluster
        })
        .await
        .unwrap()
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    /// Runs one of Postgres' programs. Postgres refuses to run as root.
    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        let log = std::fs::File::create(self.folder.path().join("output")).unwrap();
        let (out, err) = (log.try_clone().unwrap(), log);
        let status = command.args(arguments).stdout(out).stderr(err).current_dir("/").status().unwrap();
        let output = || std::fs::read_to_string(self.folder.path().join("output"));
        assert!(status.success(), "{command:?}: {:?}", output());
    }

    pub fn begin(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off",
            self.port
        );
        let log = self.folder.path().join("log").display().to_string();
        self.run("pg_ctl", &["-s", "-w", "-D", &self.data(), "-l", &log, "-o", &options, "start"]);
    }

    pub fn stop(&self) {
        self.run("pg_ctl", &["-s", "-w", "-D", &self.data(), "-m", "fast", "stop"]);
    }

    /// Makes the server a read-only replica from its next start on.
    pub fn make_replica(&self) {
        std::fs::write(self.folder.path().join("data/standby.signal"), "").unwrap();
    }

    /// Promotes the replica to a server that accepts writes.
    pub fn promote(&self) {
        self.run("pg_ctl", &["-s", "-w", "-D", &self.data(), "promote"]);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A failed test may have stopped it already.
        if std::path::Path::new(&self.data()).join("postmaster.pid").exists() {
            self.run("pg_ctl", &["-s", "-w", "-D", &self.data(), "-m", "immediate", "stop"]);
        }
    }
}

pub fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}
