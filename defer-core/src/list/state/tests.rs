//! Every transition from every state that a list of a few jobs can reach, in whatever order, held against the tables in the
//! documentation of [`list`](super::super). Not covered: what transitions return of times, and [`State::keep_worker`].

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::sync::oneshot;

use super::*;
use crate::{
    list::entry::Told,
    model::{error::JobError, failure::Failure, id::JobId, job_type::JobType, policy::Policy},
    primitives::BoxFuture,
    store::{End, Envelope, Lease, Settle, Start, Stop},
};

const TRIES: u32 = 2;
const KEY: &str = "key";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Plain,
    /// Not due for an hour.
    Delayed,
    /// After a success alone.
    Conditional,
    /// With a limit for its type.
    Limited,
    Concurrent,
    /// With a key within its request.
    Keyed,
    /// Others were left out for it.
    Pinned,
    /// For the queue.
    Queued,
    /// For the queue, after a success alone.
    QueuedOnSuccess,
    QueuedConcurrent,
    /// For the queue, with the end of the first job.
    Child,
    /// From a queue.
    Source,
}

impl Kind {
    fn entry(self) -> Entry {
        const fn policy() -> Policy {
            Policy::new().with_tries(TRIES)
        }
        const PLAIN: &JobType = &JobType::new(|| "Noop", policy());
        const ON_SUCCESS: &JobType = &JobType::new(|| "Noop", policy().with_on_success());
        const LIMITED: &JobType = &JobType::new(|| "Noop", policy().with_max_running(1));
        const CONCURRENT: &JobType = &JobType::new(|| "Noop", policy().with_concurrent());
        let kind = match self {
            Self::Conditional | Self::QueuedOnSuccess => ON_SUCCESS,
            Self::Limited => LIMITED,
            Self::Concurrent | Self::QueuedConcurrent => CONCURRENT,
            _ => PLAIN,
        };
        let mut entry = Entry::new(JobId::next(), kind);
        match self {
            Self::Delayed => entry.set_delay(Duration::from_secs(3600)),
            Self::Keyed => entry.set_key(KEY),
            Self::Pinned => assert!(entry.pin()),
            Self::Source => {
                entry = Entry::from_queue(entry.id, kind, 0, Told::Observer(oneshot::channel().0))
            }
            Self::Child => {
                entry.set_payload(Vec::new());
                entry.set_parent(0);
            }
            _ if self.is_queued() => entry.set_payload(Vec::new()),
            _ => {}
        }
        entry
    }

    fn is_queued(self) -> bool {
        matches!(self, Self::Queued | Self::QueuedOnSuccess | Self::QueuedConcurrent | Self::Child)
    }

    fn is_conditional(self) -> bool {
        matches!(self, Self::Conditional | Self::QueuedOnSuccess)
    }
}

/// A lease that nothing asks.
struct NoLease;

impl Lease for NoLease {
    fn poll_start(&self, _: &mut Context<'_>) -> Poll<Start> {
        unreachable!("a transition calls nothing")
    }

    fn poll_stopped(&self, _: &mut Context<'_>) -> Poll<Stop> {
        unreachable!("a transition calls nothing")
    }

    fn pass(&self) -> BoxFuture<'static, ()> {
        unreachable!("a transition calls nothing")
    }

    fn settle(&self, _: End, _: Vec<Envelope>) -> Settle {
        unreachable!("a transition calls nothing")
    }
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Succeeds,
    Fails,
    FailsFatally,
    Snoozes,
}

impl How {
    fn failure(self) -> Failure {
        Failure::Returned(match self {
            Self::Succeeds => unreachable!("it is no failure"),
            Self::Fails => JobError::msg("fails"),
            Self::FailsFatally => JobError::msg("fails").fatal(),
            Self::Snoozes => JobError::snooze(Duration::ZERO),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Add,
    Hold,
    Release,
    Begin,
    Activate,
    ForgetWorker,
    LoseWorker,
    CancelKey,
    BeginPush,
    BeginChildren,
    /// The jobs that the queue holds go this way.
    Part(Option<Way>),
    Stop(bool),
    /// The queue has stored the job, and holds it for this process.
    Store(usize),
    Cancel(usize),
    /// Somebody asks for it; with `true` though it is from the queue.
    CancelJob(usize, bool),
    /// Another takes its place.
    Replace(usize),
    PassPush(usize),
    EndQueued(usize),
    /// The queue did not take the job; with `true` it may have.
    FailPush(usize, bool),
    Start(usize),
    /// Its condition was asked, and is true.
    Pass(usize),
    Advance(usize, bool, bool),
    Detach(usize),
    GiveUp(usize, How),
    EndAttempt(usize, How),
    End(usize),
    EndHandover(usize),
}

fn steps(jobs: usize) -> impl Iterator<Item = Step> {
    use How::{Fails, FailsFatally, Snoozes, Succeeds};
    let of_list = [
        Step::Add,
        Step::Hold,
        Step::Release,
        Step::Begin,
        Step::Activate,
        Step::ForgetWorker,
        Step::LoseWorker,
        Step::CancelKey,
        Step::BeginPush,
        Step::BeginChildren,
        Step::Part(None),
        Step::Part(Some(Way::Queue)),
        Step::Stop(false),
        Step::Stop(true),
    ];
    let of_job = |job| {
        [
            Step::Store(job),
            Step::Cancel(job),
            Step::CancelJob(job, false),
            Step::CancelJob(job, true),
            Step::Replace(job),
            Step::PassPush(job),
            Step::EndQueued(job),
            Step::FailPush(job, false),
            Step::FailPush(job, true),
            Step::Start(job),
            Step::Pass(job),
            Step::Advance(job, false, false),
            Step::Advance(job, false, true),
            Step::Advance(job, true, false),
            Step::Advance(job, true, true),
            Step::Detach(job),
            Step::GiveUp(job, Fails),
            Step::GiveUp(job, FailsFatally),
            Step::EndAttempt(job, Succeeds),
            Step::EndAttempt(job, Fails),
            Step::EndAttempt(job, FailsFatally),
            Step::EndAttempt(job, Snoozes),
            Step::End(job),
            Step::EndHandover(job),
        ]
    };
    of_list.into_iter().chain((0..jobs).flat_map(of_job))
}

/// One job, as the documentation's tables describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Expected {
    kind: Kind,
    state: JobState,
    attempts: u32,
    is_detached: bool,
    /// It is to be pushed, and was not.
    is_due: bool,
    is_delayed: bool,
    is_conditional: bool,
    is_unsure: bool,
    /// The queue holds it for this process.
    is_held: bool,
    /// It is stored with the end of another.
    is_child: bool,
    is_given_up: bool,
    /// Its attempt is to be stopped.
    is_cancelled: bool,
    /// How often it was counted.
    ends: u32,
}

impl Expected {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            state: JobState::Waiting,
            attempts: 0,
            is_detached: false,
            is_due: kind.is_queued(),
            is_delayed: kind == Kind::Delayed,
            is_conditional: kind.is_conditional(),
            is_unsure: false,
            is_held: false,
            is_child: kind == Kind::Child,
            is_given_up: false,
            is_cancelled: false,
            ends: 0,
        }
    }

    fn goes_on(&self, how: How) -> bool {
        match how {
            How::Succeeds | How::FailsFatally => false,
            How::Fails => self.attempts < TRIES,
            How::Snoozes => true,
        }
    }

    fn is_from_queue(&self) -> bool {
        self.is_held || self.kind == Kind::Source
    }

    fn may_be_replaced(&self) -> bool {
        self.attempts == 0 && !self.is_conditional && !self.is_unsure && !self.is_from_queue()
    }

    /// Returns what is in the way of its next attempt. With its turns it has the leave of its lease.
    fn obstacle(&self, has_slots: bool, has_permit: bool) -> &'static str {
        match self.state {
            JobState::Pushing => "push",
            JobState::Running | JobState::HandedOver | JobState::Ended => "gone",
            JobState::Waiting | JobState::Detached => match () {
                () if self.is_due => "push",
                () if self.is_conditional => "ask",
                () if self.is_delayed => "delay",
                () if self.kind == Kind::Limited && !has_slots => "slots",
                () if !has_permit => "permit",
                () if self.is_held && !has_slots => "lease",
                () => "none",
            },
        }
    }

    /// The tables of the documentation: what a job is after a step that is about it.
    fn after(mut self, step: Step) -> Self {
        use JobState::{Detached, Ended, HandedOver, Pushing, Running, Waiting};
        let may_be_dropped = !self.is_unsure && self.kind != Kind::Pinned;
        self.state = match (self.state, step) {
            (Waiting | Detached, Step::Cancel(_)) if self.attempts == 0 && may_be_dropped => Ended,
            (Waiting, Step::CancelKey) if self.kind == Kind::Keyed && may_be_dropped => Ended,
            (Waiting | Detached, Step::CancelJob(_, though)) if though || !self.is_from_queue() => Ended,
            (Running, Step::CancelJob(_, though)) if though || !self.is_from_queue() => {
                self.is_cancelled |= !self.is_given_up;
                Running
            }
            (Waiting | Detached, Step::Replace(_)) if self.may_be_replaced() => Ended,
            (Waiting | Detached, Step::BeginPush) if self.is_due && !self.is_child => Pushing,
            (Waiting | Detached, Step::BeginChildren) if self.is_child => Pushing,
            (Pushing, Step::Store(_)) => {
                (self.is_due, self.is_child, self.is_held) = (false, false, true);
                if self.is_detached { Detached } else { Waiting }
            }
            (Waiting | Detached, Step::Part(way)) if self.is_held => {
                self.is_conditional = false;
                if way.is_none() { self.state } else { Ended }
            }
            (Pushing, Step::PassPush(_)) => {
                self.is_conditional = false;
                Pushing
            }
            (Pushing, Step::EndQueued(_)) => Ended,
            (Pushing, Step::FailPush(_, unsure)) => {
                (self.is_due, self.is_child, self.is_unsure) = (false, false, unsure);
                if self.is_detached { Detached } else { Waiting }
            }
            (Waiting, Step::Detach(_)) => {
                self.is_detached = true;
                Detached
            }
            (Pushing, Step::Detach(_)) => {
                self.is_detached = true;
                Pushing
            }
            (Waiting, Step::Start(_)) if self.obstacle(false, true) == "none" => {
                self.attempts += 1;
                Running
            }
            (Waiting | Detached, Step::Advance(_, has_slots, has_permit)) => {
                match self.obstacle(has_slots, has_permit) {
                    "none" => {
                        self.attempts += 1;
                        Running
                    }
                    "delay" => {
                        (self.is_delayed, self.is_detached) = (false, true);
                        Detached
                    }
                    _ => self.state,
                }
            }
            (Running, Step::GiveUp(_, how)) => {
                self.is_given_up |= !self.goes_on(how) && !self.is_cancelled;
                Running
            }
            (Running, Step::EndAttempt(_, how)) if self.is_cancelled && how != How::Succeeds => Ended,
            (Running, Step::EndAttempt(_, how)) if self.goes_on(how) && !self.is_from_queue() => {
                self.is_detached = true;
                self.attempts -= u32::from(how == How::Snoozes);
                Detached
            }
            (Running, Step::EndAttempt(..)) => Ended,
            (Waiting | Pushing | Running | Detached, Step::End(_)) => Ended,
            (Waiting | Pushing | Running | Detached, Step::Stop(has_queue)) => {
                let may_leave = !self.is_conditional && !self.is_given_up && !self.is_cancelled;
                let is_taken = has_queue && self.kind.is_queued() && may_leave;
                if is_taken || self.is_from_queue() || self.is_child { HandedOver } else { Ended }
            }
            (Waiting | Pushing | Running, Step::LoseWorker) if !self.is_detached => Ended,
            (HandedOver, Step::EndHandover(_)) => Ended,
            (state, Step::Pass(_)) => {
                // Asked only of a job that is about to start.
                self.is_conditional &= !matches!(state, Waiting | Detached);
                state
            }
            (state, _) => state,
        };
        self
    }

    /// Returns what the transitions that may follow depend on.
    fn relevant(&self) -> impl Eq + std::hash::Hash + use<> {
        let ended = Self { kind: self.kind, state: JobState::Ended, ends: 1, ..Self::new(self.kind) };
        if self.state == JobState::Ended { ended } else { *self }
    }
}

/// A list, and what is known of it from outside.
struct Model {
    /// The steps that were taken.
    way: Vec<Step>,
    state: State,
    capacity: Capacity,
    sheds: bool,
    kinds: &'static [Kind],
    jobs: Vec<Expected>,
    /// The index of each job; `None` for one that was shed at once.
    indices: Vec<Option<usize>>,
    ids: Vec<JobId>,
    /// The list's phase, as the documentation describes it.
    phase: Phase,
    /// It was released with jobs to start, and has not begun.
    is_beginning: bool,
    is_held: bool,
    /// How much room tasks of their own have taken over.
    room_taken_over: usize,
}

impl Model {
    fn new(kinds: &'static [Kind], sheds: bool, capacity: usize) -> Self {
        Self {
            way: Vec::new(),
            state: State::new(),
            capacity: Capacity::new(capacity),
            sheds,
            kinds,
            jobs: Vec::new(),
            indices: Vec::new(),
            ids: Vec::new(),
            phase: Phase::Collecting,
            is_beginning: false,
            is_held: false,
            room_taken_over: 0,
        }
    }

    /// Returns a list in the same state, whose next step can be another one.
    fn fork(&self) -> Self {
        let Counts { open, waiting, running, room } = self.state.counts;
        // The list's room was compared with the room that is taken.
        let capacity = Capacity::new(self.capacity.max());
        capacity.take(room);
        Self {
            way: self.way.clone(),
            state: State {
                entries: self.state.entries.clone(),
                counts: Counts { open, waiting, running, room },
                phase: self.state.phase,
                released: None,
                started: None,
                flags: self.state.flags,
                line_waker: self.state.line_waker.clone(),
                rare: self.state.rare.clone(),
                worker: None,
                worker_epoch: self.state.worker_epoch,
            },
            capacity,
            sheds: self.sheds,
            kinds: self.kinds,
            jobs: self.jobs.clone(),
            indices: self.indices.clone(),
            ids: self.ids.clone(),
            phase: self.phase,
            is_beginning: self.is_beginning,
            is_held: self.is_held,
            room_taken_over: 0,
        }
    }

    /// Returns whether the list's callers take this step now.
    fn may_take(&self, step: Step) -> bool {
        let in_line = |job: &Expected| {
            let is_open = matches!(job.state, JobState::Waiting | JobState::Pushing | JobState::Running);
            is_open && !job.is_detached
        };
        match step {
            Step::Add => self.jobs.len() < self.kinds.len(),
            Step::Begin => self.is_beginning,
            // By a worker, or a permit that comes too late.
            Step::ForgetWorker => !self.is_beginning && !self.jobs.iter().any(in_line),
            Step::Pass(job) => self.jobs.get(job).is_some_and(|job| job.obstacle(false, false) == "ask"),
            // For other jobs it equals the step with `false`.
            Step::CancelJob(job, true) => self.jobs.get(job).is_some_and(Expected::is_from_queue),
            _ => true,
        }
    }

    /// Takes a step, and checks what it did against what the documentation says.
    fn take(&mut self, step: Step) {
        self.way.push(step);
        let before = self.jobs.clone();
        let was_waiting = self.count(JobState::Waiting);
        let mut effects = Effects::default();
        match step {
            Step::Add => self.add(),
            Step::Hold => {
                let (held_for, _) = self.state.hold(Waker::noop().clone());
                let is_collecting = self.phase == Phase::Collecting;
                let stored = |job: &&Expected| job.state == JobState::Waiting && job.is_held;
                let waiting = was_waiting - before.iter().filter(stored).count();
                assert_eq!(held_for, if is_collecting { waiting } else { 0 });
                self.is_held |= is_collecting && was_waiting > 0;
            }
            Step::Release => {
                let bounds = Bounds { capacity: &self.capacity, sheds: self.sheds };
                let starts = self.state.release(bounds, None, &mut effects);
                assert_eq!(starts.is_some(), self.phase == Phase::Collecting, "a list is released once");
                for ended in &effects.ended {
                    assert!(self.sheds);
                    let job = self.job(ended.job.id);
                    assert_eq!(self.jobs[job].state, JobState::Waiting);
                    self.jobs[job].state = JobState::Ended;
                }
                if let Some(starts) = starts {
                    assert_eq!(starts, self.count(JobState::Waiting) > 0);
                    self.phase = if starts { Phase::Active } else { Phase::Idle };
                    self.is_beginning = starts;
                }
            }
            Step::Begin => {
                let starts = self.state.begin();
                assert_eq!(starts, was_waiting > 0);
                self.is_beginning = false;
                self.phase = if starts { Phase::Active } else { Phase::Idle };
            }
            Step::Activate => {
                let starts = self.state.activate();
                assert_eq!(starts, self.phase == Phase::Idle && was_waiting > 0, "a list is started once");
                self.phase = if starts { Phase::Active } else { self.phase };
            }
            Step::ForgetWorker => {
                self.state.forget_worker();
                self.idle();
            }
            Step::LoseWorker => {
                self.state.lose_worker(&mut effects);
                self.idle();
            }
            Step::CancelKey => self.state.cancel_key(KEY, None, &mut effects),
            Step::BeginPush => {
                let due = self.state.begin_push(|entry| entry.has(Flags::CHILD), &mut effects).len();
                let is_due = |job: &&Expected| job.is_due && !job.is_child && job.may_start();
                assert_eq!(due, before.iter().filter(is_due).count());
            }
            Step::BeginChildren => {
                let children = self.state.begin_children(0, &mut effects).len();
                assert_eq!(children, before.iter().filter(|job| job.is_child && job.may_start()).count());
            }
            Step::Part(way) => {
                let parted = self.state.part(None, |_| way, &mut effects);
                effects.ended.extend(parted.into_iter().map(|(found, ended)| {
                    assert_eq!(Some(found), way);
                    ended
                }));
            }
            Step::Stop(has_queue) => {
                let handed_over = self.state.stop(has_queue, &mut effects);
                for HandedOver { job, envelope, .. } in handed_over {
                    let job = before[self.job(job.id)];
                    let has_it = job.is_from_queue() || job.is_child;
                    assert!(envelope.is_some() != has_it, "the queue has it, or is asked");
                }
            }
            Step::Store(job)
            | Step::Cancel(job)
            | Step::CancelJob(job, _)
            | Step::Replace(job)
            | Step::PassPush(job)
            | Step::EndQueued(job)
            | Step::FailPush(job, _)
            | Step::Start(job)
            | Step::Pass(job)
            | Step::Advance(job, ..)
            | Step::Detach(job)
            | Step::GiveUp(job, _)
            | Step::EndAttempt(job, _)
            | Step::End(job)
            | Step::EndHandover(job) => {
                if let Some(index) = self.indices.get(job).copied().flatten() {
                    self.take_job_step(step, before[job], index, &mut effects);
                }
            }
        }
        let of_all = matches!(
            step,
            Step::BeginPush
                | Step::BeginChildren
                | Step::Part(_)
                | Step::Stop(_)
                | Step::LoseWorker
                | Step::CancelKey
        );
        for (at, job) in self.jobs.iter_mut().enumerate().take(before.len()) {
            if of_all || step.job() == Some(at) {
                *job = job.after(step);
            }
        }
        self.follow_up(effects);
    }

    fn add(&mut self) {
        let kind = self.kinds[self.jobs.len()];
        let entry = kind.entry();
        self.ids.push(entry.id);
        let mut job = Expected::new(kind);
        let bounds = Bounds { capacity: &self.capacity, sheds: self.sheds };
        if self.state.makes_room(bounds) {
            self.indices.push(Some(self.state.add(entry)));
        } else {
            assert!(self.sheds, "room is made, unless the runner sheds");
            (job.state, job.ends) = (JobState::Ended, 1);
            self.indices.push(None);
        }
        self.jobs.push(job);
    }

    /// Takes a step of one job, which was this before.
    fn take_job_step(&mut self, step: Step, job: Expected, index: usize, effects: &mut Effects) {
        let state = &mut self.state;
        match step {
            Step::Store(_) => {
                let bounds = Bounds { capacity: &self.capacity, sheds: self.sheds };
                let stored = state.store(index, Arc::new(NoLease), bounds);
                assert_eq!(stored.is_ok(), job.state == JobState::Pushing);
                if let Ok(stored) = stored {
                    assert_eq!(stored.is_released, self.phase != Phase::Collecting);
                    assert!(!stored.starts || self.phase == Phase::Idle, "a list is started once");
                    self.phase = if stored.starts { Phase::Active } else { self.phase };
                }
            }
            Step::Cancel(_) => state.cancel(index, effects),
            Step::CancelJob(at, though) => {
                let asked = state.cancel_job(self.ids[at], though, effects);
                let found = match asked {
                    None => "none",
                    Some(Asked::Ended { is_unsure }) => {
                        assert_eq!(is_unsure, job.is_unsure);
                        "ended"
                    }
                    Some(Asked::Runs(_)) => {
                        assert_eq!(state.stops(Some(index)), !job.is_given_up, "it is stopped");
                        "runs"
                    }
                    Some(Asked::Pushing { index: found }) => {
                        assert_eq!(found, index);
                        "pushing"
                    }
                    Some(Asked::Queued { is_leased }) => {
                        assert_eq!(is_leased, job.is_held && job.state != JobState::HandedOver);
                        "queued"
                    }
                };
                let expected = match job.state {
                    JobState::Ended => "none",
                    JobState::Pushing => "pushing",
                    JobState::HandedOver => "queued",
                    _ if job.is_from_queue() && !though => "queued",
                    JobState::Running => "runs",
                    JobState::Waiting | JobState::Detached => "ended",
                };
                assert_eq!(found, expected);
            }
            Step::Replace(_) => {
                let place = state.replace(index, effects);
                let is_pending = matches!(job.state, JobState::Waiting | JobState::Detached);
                assert_eq!(place.is_some(), is_pending && job.may_be_replaced());
            }
            Step::PassPush(_) => {
                let is_pushing = job.state == JobState::Pushing;
                let asked = state.ask_push(index);
                assert_eq!(asked.is_some(), is_pushing);
                assert_eq!(asked.flatten().is_some(), is_pushing && job.is_conditional);
                assert_eq!(state.pass_push(index).is_some(), is_pushing);
            }
            Step::EndQueued(_) => state.end(index, |state| state == JobState::Pushing, effects),
            Step::FailPush(_, unsure) => {
                let bounds = Bounds { capacity: &self.capacity, sheds: self.sheds };
                let failed = state.fail_push(index, unsure, None, bounds).map(|(_, returned)| returned);
                assert_eq!(failed.is_some(), job.state == JobState::Pushing);
                if let Some(failed) = failed {
                    assert_eq!(failed.is_released, self.phase != Phase::Collecting);
                    assert!(!failed.starts || self.phase == Phase::Idle, "a list is started once");
                    self.phase = if failed.starts { Phase::Active } else { self.phase };
                }
            }
            Step::Start(_) => {
                let started = state.start(index);
                let starts = job.state == JobState::Waiting && job.obstacle(false, true) == "none";
                assert_eq!(started.is_some(), starts);
                if let Some((started, room)) = started {
                    assert_eq!(started.attempt, job.attempts + 1);
                    let _ = self.capacity.give_back(room);
                }
            }
            Step::Pass(_) => assert!(!state.pass(index), "none replaces another"),
            Step::Advance(_, has_slots, has_permit) => {
                let own_task = job.is_detached.then_some(Waker::noop());
                let found = match state.advance(index, own_task, has_slots, has_permit, has_slots) {
                    Obstacle::Gone => "gone",
                    Obstacle::Duplicate(_) => "duplicate",
                    Obstacle::Push => "push",
                    Obstacle::Ask(_) => "ask",
                    Obstacle::Permit => "permit",
                    Obstacle::Lease(_) => "lease",
                    Obstacle::Slots(slots) => {
                        assert!(slots.limit.is_some() && slots.serial.is_none());
                        assert_eq!(slots.is_in_line, !job.is_detached);
                        "slots"
                    }
                    Obstacle::Delay { room, .. } => {
                        let _ = self.capacity.give_back(room);
                        "delay"
                    }
                    Obstacle::Started { job: started, room } => {
                        assert_eq!(started.attempt, job.attempts + 1);
                        let _ = self.capacity.give_back(room);
                        "none"
                    }
                };
                assert_eq!(found, job.obstacle(has_slots, has_permit));
            }
            Step::Detach(_) => {
                let room = state.detach(index);
                assert_eq!(room.is_some(), matches!(job.state, JobState::Waiting | JobState::Pushing));
                self.room_taken_over += room.unwrap_or_default();
            }
            Step::GiveUp(_, how) => {
                let given_up = state.give_up(index, &how.failure());
                assert_eq!(
                    given_up.is_some(),
                    job.state == JobState::Running && !job.goes_on(how) && !job.is_cancelled
                );
            }
            Step::EndAttempt(_, How::Succeeds) => {
                let ended = state.succeed(index);
                assert_eq!(ended.is_some(), job.state == JobState::Running);
                effects.ended.extend(ended);
            }
            Step::EndAttempt(_, how) => match state.end_attempt(index, &how.failure()) {
                AfterAttempt::Gone => assert_ne!(job.state, JobState::Running),
                AfterAttempt::Again(_) => {
                    assert!(job.goes_on(how) && !job.is_from_queue() && !job.is_cancelled);
                }
                AfterAttempt::Cancelled(ended) => {
                    assert!(job.is_cancelled);
                    effects.ended.push(ended);
                }
                AfterAttempt::Return(ended) => {
                    assert!(job.goes_on(how) && job.is_from_queue());
                    effects.ended.push(ended);
                }
                AfterAttempt::Ended(ended) => {
                    assert!(!job.goes_on(how) && !job.is_cancelled);
                    effects.ended.push(ended);
                }
            },
            Step::End(_) => state.end(index, |state| state != JobState::HandedOver, effects),
            Step::EndHandover(_) => state.end(index, |state| state == JobState::HandedOver, effects),
            _ => unreachable!("it is a step of a list"),
        }
    }

    fn follow_up(&mut self, effects: Effects) {
        let _ = self.capacity.give_back(effects.room);
        let _ = self.capacity.give_back(std::mem::take(&mut self.room_taken_over));
        for ended in effects.ended {
            let job = self.job(ended.job.id);
            self.jobs[job].ends += 1;
            assert_eq!(ended.job.attempt, self.jobs[job].attempts);
        }
        if !effects.wakers.is_empty() {
            self.is_held = false;
        }
    }

    fn idle(&mut self) {
        if self.phase == Phase::Active {
            self.phase = Phase::Idle;
        }
        self.is_beginning = false;
    }

    fn job(&self, id: JobId) -> usize {
        self.ids.iter().position(|known| *known == id).expect("it was added")
    }

    fn count(&self, state: JobState) -> usize {
        self.jobs.iter().filter(|job| job.state == state).count()
    }

    fn check(&mut self) {
        let way = &self.way;
        let found: Vec<_> = self
            .state
            .entries
            .open()
            .map(|(_, entry)| (entry.id, entry.state, entry.attempts, entry.has(Flags::DETACHED)))
            .collect();
        let open = self.jobs.iter().zip(&self.ids).filter(|(job, _)| job.state != JobState::Ended);
        let open: Vec<_> = open.map(|(job, id)| (*id, job.state, job.attempts, job.is_detached)).collect();
        assert_eq!(found, open, "after {way:?}");
        for job in &self.jobs {
            let ends = u32::from(job.state == JobState::Ended);
            assert_eq!(job.ends, ends, "a job is counted once, when it ends: after {way:?}");
        }
        assert_eq!(self.state.phase, self.phase, "after {way:?}");
        let counts = &self.state.counts;
        assert_eq!(counts.open, open.len());
        assert_eq!(counts.waiting, self.count(JobState::Waiting));
        assert_eq!(counts.running, self.count(JobState::Running));
        assert!(counts.room <= counts.waiting, "room is taken for jobs that wait");
        let free = self.capacity.max() - counts.room;
        assert!(self.capacity.has(free), "room is given back, after {way:?}");
        assert!(counts.room == 0 || !self.capacity.has(free + 1), "room is given back once, after {way:?}");
        let is_held = self.state.line_waker.is_some();
        assert!(!is_held || self.is_held, "a response is held until a job of it is gone: after {way:?}");
    }

    /// Returns everything that later transitions depend on.
    fn fingerprint(&self) -> impl Eq + std::hash::Hash + use<> {
        let jobs: Vec<_> = self.jobs.iter().map(Expected::relevant).collect();
        (jobs, self.state.counts.room, self.is_held, self.phase as u8, self.is_beginning)
    }

    /// Ends what is left, as a shutdown does.
    fn finish(&mut self) {
        self.take(Step::Stop(true));
        (0..self.jobs.len()).for_each(|job| self.take(Step::EndHandover(job)));
        assert!(self.jobs.iter().all(|job| job.ends == 1), "every job ends");
        assert_eq!(self.state.open(), 0);
        assert!(self.capacity.has(self.capacity.max()), "all room is given back");
    }
}

impl Expected {
    fn may_start(&self) -> bool {
        matches!(self.state, JobState::Waiting | JobState::Detached)
    }
}

impl Step {
    /// Returns the job that the step is about.
    fn job(self) -> Option<usize> {
        match self {
            Self::Store(job)
            | Self::Cancel(job)
            | Self::CancelJob(job, _)
            | Self::Replace(job)
            | Self::PassPush(job)
            | Self::EndQueued(job)
            | Self::FailPush(job, _)
            | Self::Start(job)
            | Self::Pass(job)
            | Self::Advance(job, ..)
            | Self::Detach(job)
            | Self::GiveUp(job, _)
            | Self::EndAttempt(job, _)
            | Self::End(job)
            | Self::EndHandover(job) => Some(job),
            _ => None,
        }
    }
}

/// Explores all states breadth first, each by the shortest way to it. Returns how many transitions were taken.
fn explore(kinds: &'static [Kind], sheds: bool, capacity: usize) -> usize {
    let first = Model::new(kinds, sheds, capacity);
    let mut seen = HashSet::from([first.fingerprint()]);
    let mut models = VecDeque::from([first]);
    let mut transitions = 0;
    while let Some(from) = models.pop_front() {
        for step in steps(kinds.len()).filter(|step| from.may_take(*step)) {
            let mut model = from.fork();
            model.take(step);
            model.check();
            transitions += 1;
            if seen.insert(model.fingerprint()) {
                model.fork().finish();
                models.push_back(model);
            }
        }
    }
    transitions
}

#[test]
fn every_job_ends_once_and_is_counted_once_in_every_order_of_transitions() {
    use Kind::{
        Child, Concurrent, Conditional, Delayed, Keyed, Limited, Pinned, Plain, Queued, QueuedConcurrent,
        QueuedOnSuccess, Source,
    };
    let kinds: [&[Kind]; 10] = [
        &[Plain, Plain],
        &[Delayed, Plain],
        &[Conditional, Limited],
        &[Concurrent, Keyed],
        &[Pinned, Delayed],
        &[Queued, QueuedOnSuccess],
        &[QueuedConcurrent, Plain],
        &[Source, Queued],
        &[Queued, Child],
        &[Source, Child],
    ];
    let explored = kinds.into_iter().flat_map(|kinds| {
        [(false, 1), (true, kinds.len() - 1)].map(|(sheds, capacity)| explore(kinds, sheds, capacity))
    });
    let transitions: usize = explored.sum();
    println!("{transitions} transitions");
    assert!(transitions > 100_000, "only {transitions} transitions were explored");
}
