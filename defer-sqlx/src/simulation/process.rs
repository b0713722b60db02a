//! A process: requests that defer jobs, a worker that takes them, and tasks that run them as `defer-core` and `worker` do.

use std::{future::poll_fn, sync::Arc, time::Duration};

use defer_core::{
    BoxFuture, JobId, Policy,
    queue::{End, Envelope, Hold, Lease, Ready, Settle, Settled, Start, Stop},
};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{
    NAMES, World,
    faults::{Gate, Link},
    memory::BAD,
    oracle::{Job, Ticket},
};
use crate::engine::{Owner, Settings, new_job, start_here};

/// The time limit of a request for storing its jobs.
const PUSH_TIMEOUT: Duration = Duration::from_secs(5);
const CONCURRENCY: usize = 4;

/// Starts a process, and returns a handle that can end it.
pub(super) fn start(world: &Arc<World>, name: String) -> Arc<Gate> {
    let gate = Gate::new(name);
    let process = Process { world: world.clone(), gate: gate.clone() };
    gate.spawn(async move {
        let owner = process.connect().await;
        let worker = Of { process: process.clone(), owner: owner.clone() };
        gate_of(&worker).spawn(worker.work());
        let closes = Of { process: process.clone(), owner: owner.clone() };
        gate_of(&closes).spawn(async move {
            closes.process.gate.leaves.notified().await;
            closes.owner.close().await;
        });
        Of { process, owner }.requests().await;
    });
    gate
}

fn gate_of(of: &Of) -> Arc<Gate> {
    of.process.gate.clone()
}

#[derive(Clone)]
struct Process {
    world: Arc<World>,
    gate: Arc<Gate>,
}

impl Process {
    async fn connect(&self) -> Arc<Owner> {
        let year = Duration::from_secs(365 * 24 * 3600);
        let settings =
            Settings { name: "default".to_owned(), max_payload: 1 << 20, keep_done: year, keep_failed: year };
        loop {
            let link = Arc::new(Link { gate: self.gate.clone(), world: self.world.clone() });
            match start_here(link, settings.clone(), |task| self.gate.spawn_queue(task)).await {
                Ok(owner) => return owner,
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
    }
}

/// A process and its queue.
#[derive(Clone)]
struct Of {
    process: Process,
    owner: Arc<Owner>,
}

/// A job that was deferred.
struct Deferred {
    ticket: Ticket,
    lease: Arc<dyn Lease>,
    is_keyed: bool,
}

impl Of {
    fn world(&self) -> &Arc<World> {
        &self.process.world
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.process.gate.spawn(task);
    }

    /// Returns a job, and whether the database accepts it.
    fn envelope(&self) -> (Envelope, bool) {
        let world = self.world();
        let is_bad = world.one_in(16);
        let payload = if is_bad { BAD } else { "{}" };
        let name = NAMES[world.below(NAMES.len())];
        (Envelope::new(world.next_id(), name, Policy::new(), payload.into()), is_bad)
    }

    /// Makes requests until the faults are over.
    async fn requests(self) {
        while self.world().is_faulty() {
            sleep(self.world().millis(1..3_000)).await;
            let of = self.clone();
            if self.world().one_in(6) {
                self.spawn(of.push());
            } else {
                self.spawn(of.request());
            }
        }
        // The queue belongs to this process until the process ends.
        std::future::pending().await
    }

    async fn push(self) {
        let (envelope, is_bad) = self.envelope();
        let id = envelope.id;
        self.world().oracle(|oracle| {
            oracle.deferred(id, Job { is_bad, is_over: true, ..Job::default() });
        });
        let Ok(mut job) = new_job(envelope, 1 << 20) else { return };
        job.serial = self.world().one_in(2).then(|| "serial".to_owned());
        job.unique = self.world().one_in(4).then(|| "unique".to_owned());
        if self.owner.engine().push(vec![job]).await.is_ok() {
            self.world().oracle(|oracle| oracle.job(id).is_acknowledged = true);
        }
    }

    async fn request(self) {
        let world = self.world().clone();
        let count = 1 + world.below(3);
        let (envelopes, are_bad): (Vec<_>, Vec<_>) = (0..count).map(|_| self.envelope()).unzip();
        let ids: Vec<JobId> = envelopes.iter().map(|job| job.id).collect();
        let holder = self.owner.engine().holder();
        world.oracle(|oracle| {
            for (id, is_bad) in ids.iter().zip(are_bad) {
                let job = Job { deferred_by: Some(holder.clone()), is_bad, ..Job::default() };
                oracle.deferred(*id, job);
            }
        });
        let Hold { leases, stored } = self.owner.hold(envelopes);
        let mut is_cancelled = world.one_in(10);
        let patience = if is_cancelled { world.millis(0..50) } else { PUSH_TIMEOUT };
        let results = timeout(patience, stored).await.unwrap_or_default();
        if is_cancelled && !results.is_empty() {
            is_cancelled = false;
        }
        for (at, id) in ids.iter().enumerate() {
            if matches!(results.get(at), Some(Ok(()))) {
                world.oracle(|oracle| oracle.job(*id).is_acknowledged = true);
            }
        }
        if !is_cancelled {
            let longest = if world.one_in(8) { 20_000 } else { 1_000 };
            sleep(world.millis(0..longest)).await;
        }
        world.oracle(|oracle| ids.iter().for_each(|id| oracle.job(*id).is_over = true));
        for (at, (id, lease)) in ids.into_iter().zip(leases).enumerate() {
            let from_memory = !matches!(results.get(at), Some(Ok(())));
            let ticket = Ticket { id, holder: holder.clone(), claim: 1, from_memory };
            let deferred = Deferred { ticket, lease, is_keyed: world.one_in(4) };
            self.spawn(self.clone().part(deferred));
        }
    }

    /// Handles a job whose response is over: runs it here, makes it ready in the queue, or drops its lease.
    fn part(self, job: Deferred) -> BoxFuture<'static, ()> {
        Box::pin(self.go_one_way(job))
    }

    async fn go_one_way(self, job: Deferred) {
        let world = self.world().clone();
        match world.below(10) {
            0 => drop(job.lease),
            1..4 if !job.ticket.from_memory => {
                let mut ready = Ready { delay: world.millis(0..3_000), ..Ready::default() };
                if job.is_keyed {
                    ready.serial = world.one_in(2).then(|| "serial".to_owned());
                    ready.unique = world.one_in(2).then(|| "unique".to_owned());
                }
                let Settle { settled, .. } = job.lease.settle(End::Ready(ready), Vec::new());
                settled.await;
            }
            4 if !job.ticket.from_memory => {
                job.lease.pass().await;
                self.run(job.ticket, job.lease).await;
            }
            _ => self.run(job.ticket, job.lease).await,
        }
    }

    /// Runs an attempt of a job, and stores how it ended.
    async fn run(self, ticket: Ticket, lease: Arc<dyn Lease>) {
        let world = self.world().clone();
        if !ticket.from_memory {
            match poll_fn(|cx| lease.poll_start(cx)).await {
                Start::Now => {}
                Start::Not(Stop::Lost) => return,
                Start::Not(Stop::Cancelled) => {
                    lease.settle(End::Cancelled, Vec::new()).settled.await;
                    return;
                }
            }
        }
        let running = Running::start(&self, &ticket);
        let longest = if world.one_in(8) { 20_000 } else { 1_000 };
        let work = sleep(world.millis(0..longest));
        let stop = tokio::select! {
            biased;
            stop = poll_fn(|cx| lease.poll_stopped(cx)), if !ticket.from_memory => Some(stop),
            () = work => None,
        };
        let error = if world.one_in(8) { BAD.to_owned() } else { "error".to_owned() };
        let end = match stop {
            Some(Stop::Lost) => return,
            Some(Stop::Cancelled) => End::Cancelled,
            None => match world.below(8) {
                0 => End::Failed { error },
                1 | 2 if !ticket.from_memory => End::Retry { error, delay: world.millis(0..3_000) },
                3 if !ticket.from_memory => End::Snoozed { delay: world.millis(0..3_000) },
                _ => End::Succeeded,
            },
        };
        running.end(matches!(end, End::Succeeded));
        let bears = !ticket.from_memory && world.is_faulty() && world.one_in(4);
        let count = if bears { 1 + world.below(3) } else { 0 };
        let (envelopes, are_bad): (Vec<_>, Vec<_>) = (0..count).map(|_| self.envelope()).unzip();
        let ids: Vec<JobId> = envelopes.iter().map(|job| job.id).collect();
        let children: Vec<(JobId, bool)> = ids.iter().copied().zip(are_bad).collect();
        world.oracle(|oracle| oracle.bears(&ticket, &children));
        let Settle { leases, settled } = lease.settle(end, envelopes);
        drop(lease);
        let settled = if world.one_in(20) {
            timeout(world.millis(0..20), settled).await.unwrap_or(Settled::Unknown)
        } else {
            settled.await
        };
        match settled {
            Settled::Done => {
                for ((id, is_bad), lease) in children.into_iter().zip(leases) {
                    let from_memory = is_bad || !world.tables(|tables| tables.jobs.contains_key(&id));
                    let holder = ticket.holder.clone();
                    let ticket = Ticket { id, holder, claim: 1, from_memory };
                    if !from_memory {
                        world.oracle(|oracle| oracle.job(id).is_acknowledged = true);
                    }
                    let deferred = Deferred { ticket, lease, is_keyed: false };
                    self.spawn(self.clone().part(deferred));
                }
            }
            Settled::Refused => world.judge(|oracle, tables| oracle.refused(&ids, tables)),
            Settled::Duplicate(_) | Settled::Unknown => {}
        }
    }

    /// Takes jobs, as a worker does.
    async fn work(self) {
        let places = Arc::new(Semaphore::new(CONCURRENCY));
        let names: Arc<[String]> = NAMES.iter().map(|name| (*name).to_owned()).collect();
        let _registered = self.owner.engine().workers.add(1, names.clone());
        loop {
            let engine = self.owner.engine();
            let ready = engine.ready();
            tokio::pin!(ready);
            ready.as_mut().enable();
            let free = places.available_permits();
            if free == 0 {
                drop(places.acquire().await);
                continue;
            }
            let holder = engine.holder();
            let take = engine.take(&names, free);
            // Occasionally a worker is dropped during a take, and another starts.
            let patience = self.world().one_in(20).then(|| self.world().millis(0..30));
            let taken = match patience {
                Some(patience) => timeout(patience, take).await.unwrap_or_else(|_| Ok(Vec::new())),
                None => take.await,
            };
            let Ok(taken) = taken else {
                sleep(Duration::from_millis(500)).await;
                continue;
            };
            let count = taken.len();
            for job in taken {
                let Ok(place) = places.clone().try_acquire_owned() else { continue };
                let Some(lease) = self.owner.lease(&job, place) else { continue };
                let Ok(id) = job.id.parse() else { continue };
                let ticket = Ticket { id, holder: holder.clone(), claim: job.claim, from_memory: false };
                self.spawn(self.clone().run(ticket, lease));
            }
            if count < free {
                tokio::select! {
                    biased;
                    () = ready => {}
                    () = sleep(Duration::from_secs(1)) => {}
                }
            }
        }
    }
}

/// A running attempt.
struct Running {
    world: Arc<World>,
    ticket: Ticket,
    number: u64,
    succeeded: bool,
}

impl Running {
    fn start(of: &Of, ticket: &Ticket) -> Self {
        let (world, knows) = (of.world().clone(), of.owner.engine().holder());
        world.log(|| format!("{} starts {ticket:?}", of.process.gate.name));
        let number = world.started(ticket, &knows);
        Self { world, ticket: ticket.clone(), number, succeeded: false }
    }

    fn end(mut self, succeeded: bool) {
        self.succeeded = succeeded;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Self { world, ticket, number, succeeded } = self;
        world.log(|| format!("attempt {number} of {} ends: {succeeded}", ticket.id));
        world.oracle(|oracle| oracle.stopped(ticket, *number, *succeeded));
    }
}
