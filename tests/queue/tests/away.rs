//! Databases that are unavailable, slow, silent, read-only and full.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use defer_axum::{event::JobEventKind, queue::OnQueueFailure};
use defer_queue_tests::{
    backend::{Backend, Place, on_each},
    client::Client,
    cluster::is_root,
    service::{Serves, Service},
    waiting::{until, until_line},
};

/// How long a response waits for the queue here.
const PUSH_TIMEOUT: Duration = Duration::from_millis(300);

/// A service that gives up on its queue quickly, and counts the failures.
struct Hasty {
    service: Service,
    serves: Serves,
    failures: Arc<AtomicU32>,
}

impl Hasty {
    /// Creates one that reaches its database through this URL.
    async fn at(place: &Place, url: &str) -> Self {
        let failures = Arc::new(AtomicU32::new(0));
        let counted = failures.clone();
        let by_url = Place { url: url.to_owned(), ..place.clone() };
        let service = Service::with(
            &by_url,
            "log",
            |queue| queue,
            |runner| {
                runner.push_timeout(PUSH_TIMEOUT).on_event(move |event| {
                    if let JobEventKind::QueueFailed { .. } = event.kind() {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                })
            },
        )
        .await;
        let serves = Serves::new(&service).await;
        Self { service, serves, failures }
    }

    async fn post(&self, path: &str) -> u16 {
        Client::connect(self.serves.address).await.unwrap().post(path).await.unwrap()
    }
}

/// Makes the database unavailable to a running service, and then available again. Every request is answered, every job runs
/// once, and every end is stored.
async fn goes_on(place: &Place, url: &str, goes: impl AsyncFnOnce(), comes: impl AsyncFnOnce()) {
    let hasty = Hasty::at(place, url).await;
    let log = &hasty.service.log;
    // One job runs meanwhile, one is held, and one is due afterwards.
    assert_eq!(hasty.post("/waits/1").await, 200);
    until_line(log, "+1").await;
    let mut held = Client::connect(hasty.serves.address).await.unwrap();
    held.send("/held/2").await.unwrap();
    held.until("part").await.unwrap();
    for number in 100..110 {
        assert_eq!(hasty.post(&format!("/note/{number}")).await, 200);
    }
    goes().await;
    for number in 110..120 {
        assert_eq!(hasty.post(&format!("/note/{number}")).await, 200);
    }
    // These jobs run in this process.
    for number in 110..120 {
        until_line(log, &number.to_string()).await;
    }
    assert!(hasty.failures.load(Ordering::Relaxed) >= 10);
    place.touch("go");
    place.touch("end");
    until_line(log, "-1").await;
    held.until("0\r\n\r\n").await.unwrap();
    comes().await;
    let before = hasty.failures.load(Ordering::Relaxed);
    until("requests are stored again", async || {
        assert_eq!(hasty.post("/fails/again").await, 200);
        hasty.failures.load(Ordering::Relaxed) == before
            || place.number("SELECT count(*) FROM defer_jobs WHERE name = 'Fails'").await > 0
    })
    .await;
    until_line(log, "2 sent").await;
    // The service takes jobs of other processes again.
    let insert = format!(
        "INSERT INTO defer_jobs (id, name, payload) VALUES ('{}', 'Note', '{{\"number\":200}}')",
        defer_axum::JobId::unique()
    );
    place.execute(&insert).await;
    until_line(log, "200").await;
    place.until_number("SELECT count(*) FROM defer_jobs WHERE state IN (0, 1, 2)", 0).await;
    assert_all_once(log.lines(), (100..120).chain([200]));
    assert_eq!(place.number("SELECT max(deaths) FROM defer_jobs").await, 0, "somebody was taken for dead");
    let stored = "SELECT count(*) FROM defer_jobs WHERE name IN ('Waits', 'Tells') AND state = 3";
    assert_eq!(place.number(stored).await, 2, "an end is not stored");
    hasty.serves.stop().await;
}

fn assert_all_once(lines: Vec<String>, numbers: impl Iterator<Item = u32>) {
    let mut ran: BTreeMap<String, u32> = BTreeMap::new();
    for line in lines {
        *ran.entry(line).or_default() += 1;
    }
    for number in numbers {
        assert_eq!(ran.get(&number.to_string()), Some(&1), "{number} in {ran:?}");
    }
    assert!(ran.iter().all(|(line, times)| *times == 1 || line == "fails"), "{ran:?}");
}

/// A user's transaction holds the file's lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_stays_open_for_longer_than_the_queue_waits() {
    let place = Backend::Sqlite.place().await;
    let lock = tokio::sync::Mutex::new(None);
    goes_on(
        &place,
        &place.url.clone(),
        async || *lock.lock().await = Some(place.lock().await),
        async || {
            // Longer than all of its timeouts.
            tokio::time::sleep(Duration::from_secs(6)).await;
            lock.lock().await.take().unwrap().release().await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_refuses_answers_503() {
    on_each(async |backend| {
        let place = backend.place().await;
        let service = Service::with(
            &place,
            "log",
            |queue| queue,
            |runner| runner.push_timeout(PUSH_TIMEOUT).on_queue_failure(OnQueueFailure::Refuse),
        )
        .await;
        let serves = Serves::new(&service).await;
        let post =
            async |path: &str| Client::connect(serves.address).await.unwrap().post(path).await.unwrap();
        // The database rejects one job, and then is slow: whether that one will be stored is unknown.
        place.refuse("\"number\":1}").await;
        assert_eq!(post("/tells/1").await, 503);
        place.refuse_nothing().await;
        let lock = place.lock().await;
        assert_eq!(post("/tells/2").await, 503);
        lock.release().await;
        until("it is stored again", async || post("/tells/3").await == 200).await;
        until_line(&service.log, "3 sent").await;
        place.until_number("SELECT count(*) FROM defer_jobs WHERE state IN (0, 1, 2)", 0).await;
        assert!(service.log.lines().iter().all(|line| line == "3 sent"), "{:?}", service.log.lines());
        serves.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_makes_no_process_count_as_dead() {
    on_each(async |backend| {
        let place = backend.place().await;
        let (one, other) = (Service::at(&place, "log").await, Service::at(&place, "log").await);
        let works = [one.works(), other.works()];
        let file = place.folder.path().join("go");
        one.queue.push(defer_queue_tests::jobs::Waits { number: 1, file }).await.unwrap();
        until_line(&place.log(), "+1").await;
        let holders = "SELECT id FROM defer_holders ORDER BY id";
        let before = place.texts(holders).await;
        let lock = match backend {
            Backend::Sqlite => place.lock().await,
            Backend::Postgres => place.lock_holders().await,
        };
        // Longer than it takes to declare a holder dead.
        tokio::time::sleep(Duration::from_secs(16)).await;
        lock.release().await;
        // All holders send heartbeats again.
        let beats = place.number("SELECT sum(beat) FROM defer_holders").await;
        until("beats", async || place.number("SELECT sum(beat) FROM defer_holders").await >= beats + 6).await;
        place.touch("go");
        one.until_idle().await;
        assert_eq!(place.texts(holders).await, before);
        assert_eq!(place.log().lines(), ["+1", "-1"]);
        for works in works {
            works.stop().await;
        }
    })
    .await;
}

/// A small in-memory file system. Mounting it takes root.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(at);
        assert!(mount.status().unwrap().success(), "root cannot mount a disk that is to be full");
        Self(at.to_owned())
    }

    fn fill(&self) {
        // Writes until the disk is full.
        let mut file = std::fs::File::create(self.0.join("fill")).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 512]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("fill")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full() {
    if !is_root() {
        eprintln!("NOT TESTED: a full disk, because only root can mount a small one");
        return;
    }
    let place = Backend::Sqlite.place().await;
    let disk = Disk::mount(&place.folder.path().join("disk"));
    let url = format!("sqlite:{}/disk/queue.db", place.folder.path().display());
    let place = Place { url, ..place };
    goes_on(&place, &place.url.clone(), async || disk.fill(), async || disk.empty()).await;
}

#[cfg(feature = "servers")]
mod postgres {
    use defer_queue_tests::{backend::server, client::Posts, cluster::Cluster, proxy::Proxy};

    use super::*;

    async fn by_proxy() -> (Place, Proxy, String) {
        let place = Backend::Postgres.place().await;
        let (proxy, url) = Proxy::of(&place.url).await;
        (place, proxy, url)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_that_are_cut() {
        let (place, proxy, url) = by_proxy().await;
        goes_on(&place, &url, async || proxy.cut().await, async || proxy.mend()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_that_are_silent() {
        let (place, proxy, url) = by_proxy().await;
        goes_on(&place, &url, async || proxy.silence(), async || proxy.mend()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_that_are_slow() {
        let (place, proxy, url) = by_proxy().await;
        let slow = async || proxy.slow_down(Duration::from_millis(400));
        goes_on(&place, &url, slow, async || proxy.mend()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_that_is_lost() {
        let (place, proxy, url) = by_proxy().await;
        let loses = async || {
            proxy.lose_commits();
            // The worker is not notified of new jobs now.
            for number in 300..305 {
                let id = defer_axum::JobId::unique();
                let insert = "INSERT INTO defer_jobs (id, name, payload) VALUES";
                place.execute(&format!("{insert} ('{id}', 'Note', '{{\"number\":{number}}}')")).await;
            }
            proxy.has_lost(3).await;
        };
        goes_on(&place, &url, loses, async || {
            proxy.has_lost(10).await;
            proxy.mend();
        })
        .await;
        for number in 300..305 {
            assert!(place.log().has(&number.to_string()), "{number} is stranded");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_that_an_administrator_ends() {
        let place = Backend::Postgres.place().await;
        let hasty = Hasty::at(&place, &place.url).await;
        let posts = Posts::to(hasty.serves.address);
        for round in 1..=20 {
            until("some more", async || posts.count() >= round * 20).await;
            place
                .execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
                )
                .await;
        }
        let Hasty { service, serves, .. } = hasty;
        serves.stop().await;
        let acknowledged = posts.all().await;
        service.worker().run_until_empty().await.unwrap();
        place.until_number("SELECT count(*) FROM defer_jobs WHERE state IN (0, 1, 2)", 0).await;
        assert_all_once(service.log.lines(), acknowledged.into_iter());
    }

    async fn of_cluster(cluster: &Cluster) -> Place {
        Place { url: cluster.url(), ..Backend::Postgres.place().await }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_restarts() {
        let cluster = Cluster::start().await;
        let place = of_cluster(&cluster).await;
        goes_on(&place, &place.url, async || cluster.stop(), async || cluster.begin()).await;
    }

    /// The state after a failover to a replica that is not yet promoted.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_that_is_read_only() {
        let cluster = Cluster::start().await;
        let place = of_cluster(&cluster).await;
        let becomes = async || {
            cluster.stop();
            cluster.make_replica();
            cluster.begin();
        };
        goes_on(&place, &place.url, becomes, async || cluster.promote()).await;
    }

    /// Settings that an administrator makes for all sessions do not count as an outage.
    #[tokio::test(flavor = "multi_thread")]
    async fn settings_of_the_server_break_nothing() {
        let place = Backend::Postgres.place().await;
        let name = place.url.rsplit('/').next().unwrap();
        // This connection has none of those settings.
        let administrator = Place { url: format!("{}/postgres", server()), ..place.clone() };
        for setting in [
            "lock_timeout = 1",
            "idle_in_transaction_session_timeout = 1",
            "default_transaction_isolation = 'serializable'",
            "DateStyle = 'German'",
            "TimeZone = 'Asia/Kolkata'",
            "default_transaction_read_only = on",
            "statement_timeout = 1",
        ] {
            administrator.execute(&format!("ALTER DATABASE {name} SET {setting}")).await;
        }
        let hasty = Hasty::at(&place, &place.url).await;
        for number in 0..50 {
            assert_eq!(hasty.post(&format!("/note/{number}")).await, 200);
        }
        for number in 0..50 {
            until_line(&hasty.service.log, &number.to_string()).await;
        }
        hasty.service.until_idle().await;
        // Nor do they affect connections that were opened before.
        administrator.execute(&format!("ALTER DATABASE {name} RESET ALL")).await;
        hasty.serves.stop().await;
        assert_eq!(place.number("SELECT count(*) FROM defer_jobs WHERE state <> 3").await, 0);
    }
}
