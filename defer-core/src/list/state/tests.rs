//! Every transition from every state that a list of up to three jobs can reach, in whatever order, held against the tables
//! in the documentation of [`list`](super::super).

use std::{
    collections::{HashSet, VecDeque},
    task::Waker,
};

use super::*;
use crate::{
    context::JobContext,
    error::{BoxError, JobResult},
    id::JobId,
    list::effects::{AttemptEnd, Ended, Freed, Start},
    policy::{On, Policy},
};

const ATTEMPTS: u32 = 2;

#[derive(Clone)]
struct Noop;

impl Work for Noop {
    async fn run(&mut self, _: &JobContext) -> JobResult {
        Ok(())
    }

    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>> {
        None
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Plain,
    /// For the queue.
    Queued,
    /// For the queue, after a success alone.
    Conditional,
}

impl Kind {
    fn entry(self) -> Entry {
        const PLAIN: &JobType = &JobType::new(|| "Noop", Policy::new().with_tries(ATTEMPTS));
        const CONDITIONAL: &JobType =
            &JobType::new(|| "Noop", Policy::new().with_tries(ATTEMPTS).with_on(On::Success));
        let kind = if self == Self::Conditional { CONDITIONAL } else { PLAIN };
        let mut entry = Entry::new(JobId::next(), kind);
        if self != Self::Plain {
            entry.set_payload(Vec::new());
        }
        entry
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Add,
    Hold,
    Release,
    TakeSegment,
    Cancel(usize),
    /// Pushes all jobs for the queue.
    BeginPush,
    PassPush(usize),
    EndQueued(usize),
    /// The queue did not take the job; with `true` it may have.
    FailPush(usize, bool),
    Start(usize),
    /// Starts a job whose condition was asked, and is true.
    StartPassed(usize),
    EndAttempt(usize, Sequel),
    End(usize),
    Stop(bool),
    EndHandover(usize),
    LoseWorker,
}

fn steps(kinds: &'static [Kind]) -> impl Iterator<Item = Step> {
    let of_job = |job| {
        [
            Step::Cancel(job),
            Step::PassPush(job),
            Step::EndQueued(job),
            Step::FailPush(job, false),
            Step::FailPush(job, true),
            Step::Start(job),
            Step::StartPassed(job),
            Step::EndAttempt(job, Sequel::Nothing),
            Step::EndAttempt(job, Sequel::Retry),
            Step::EndAttempt(job, Sequel::Snooze),
            Step::End(job),
            Step::EndHandover(job),
        ]
    };
    let of_list = [
        Step::Add,
        Step::Hold,
        Step::Release,
        Step::BeginPush,
        Step::TakeSegment,
        Step::Stop(false),
        Step::Stop(true),
        Step::LoseWorker,
    ];
    // A job that is not for the queue is never pushed.
    let is_known = move |step: &Step| match step {
        Step::PassPush(job) | Step::EndQueued(job) | Step::FailPush(job, _) => kinds[*job] != Kind::Plain,
        _ => true,
    };
    of_list.into_iter().chain((0..kinds.len()).flat_map(of_job)).filter(is_known)
}

/// What the documentation says of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Expected {
    kind: Kind,
    state: JobState,
    attempts: u32,
    has_task: bool,
    queue: InQueue,
    /// Its condition was asked, and is true.
    passed: bool,
    /// How often it was counted.
    ends: u32,
}

impl Expected {
    fn is_unconditional(&self) -> bool {
        self.kind != Kind::Conditional || self.passed
    }

    /// Returns what the transitions that may follow depend on.
    fn relevant(&self) -> impl Eq + std::hash::Hash + use<> {
        let has_ended = self.state == JobState::Ended;
        let waits = self.state == JobState::Waiting;
        let attempts = if has_ended { 0 } else { self.attempts };
        let is_conditional = !has_ended && attempts == 0 && !self.is_unconditional();
        let has_task = self.has_task && !has_ended;
        (self.state, attempts, has_task, waits.then_some(self.queue), is_conditional)
    }

    /// The table of a job's transitions.
    fn after(&self, step: Step, job: usize) -> JobState {
        use JobState::{Backoff, Ended, HandedOver, Pushing, Running, Waiting};
        let on_this = match step {
            Step::Cancel(at)
            | Step::PassPush(at)
            | Step::EndQueued(at)
            | Step::FailPush(at, _)
            | Step::Start(at)
            | Step::StartPassed(at)
            | Step::EndAttempt(at, _)
            | Step::End(at)
            | Step::EndHandover(at) => at == job,
            Step::BeginPush | Step::Stop(_) | Step::LoseWorker => true,
            Step::Add | Step::Hold | Step::Release | Step::TakeSegment => false,
        };
        if !on_this {
            return self.state;
        }
        match (self.state, step) {
            (Waiting, Step::Cancel(_)) if self.queue != InQueue::Unsure => Ended,
            (Waiting, Step::BeginPush) if self.queue == InQueue::Due => Pushing,
            (Pushing, Step::EndQueued(_)) => Ended,
            (Pushing, Step::FailPush(..)) => Waiting,
            (Waiting, Step::Start(_)) if self.queue == InQueue::Due || !self.is_unconditional() => Waiting,
            (Waiting | Backoff, Step::Start(_) | Step::StartPassed(_)) => Running,
            (Running, Step::EndAttempt(_, Sequel::Retry)) if self.attempts < ATTEMPTS => Backoff,
            (Running, Step::EndAttempt(_, Sequel::Snooze)) => Backoff,
            (Running, Step::EndAttempt(..)) => Ended,
            (Waiting | Pushing | Running | Backoff, Step::End(_)) => Ended,
            (Waiting | Pushing | Running | Backoff, Step::Stop(true))
                if self.kind != Kind::Plain && (self.is_unconditional() || self.attempts > 0) =>
            {
                HandedOver
            }
            (Waiting | Pushing | Running | Backoff, Step::Stop(_)) => Ended,
            (Waiting | Pushing, Step::LoseWorker) => Ended,
            (Running, Step::LoseWorker) if !self.has_task => Ended,
            (HandedOver, Step::EndHandover(_)) => Ended,
            (state, _) => state,
        }
    }
}

/// A list, and what is known of it from outside.
struct Model {
    /// The steps that were taken.
    way: Vec<Step>,
    state: State<Segment<Noop>>,
    capacity: Capacity,
    overflow: Overflow,
    kinds: &'static [Kind],
    jobs: Vec<Expected>,
    /// The index of each job; `None` for one that was shed at once.
    indices: Vec<Option<usize>>,
    ids: Vec<JobId>,
    /// The list is to be started and has not been.
    starts: bool,
    is_held: bool,
    /// A worker has taken a segment.
    has_taken: bool,
}

impl Model {
    fn new(kinds: &'static [Kind], overflow: Overflow, capacity: usize) -> Self {
        Self {
            way: Vec::new(),
            state: State::new(),
            capacity: Capacity::new(capacity),
            overflow,
            kinds,
            jobs: Vec::new(),
            indices: Vec::new(),
            ids: Vec::new(),
            starts: false,
            is_held: false,
            has_taken: false,
        }
    }

    /// Returns a list in the same state, whose next step can be another one.
    fn fork(&self) -> Self {
        let state = &self.state;
        let Counts { open, waiting, running, room } = state.counts;
        // That the list's room is what is taken was checked.
        let capacity = Capacity::new(self.capacity.max());
        capacity.take(room);
        Self {
            way: self.way.clone(),
            state: State {
                entries: state.entries.clone(),
                segments: state.segments.clone(),
                counts: Counts { open, waiting, running, room },
                list: state.list,
                released: None,
                started: None,
                gates: state.gates,
                waiters: state.waiters.clone(),
                carried: None,
                worker: None,
                worker_epoch: state.worker_epoch,
            },
            capacity,
            overflow: self.overflow,
            kinds: self.kinds,
            jobs: self.jobs.clone(),
            indices: self.indices.clone(),
            ids: self.ids.clone(),
            starts: self.starts,
            is_held: self.is_held,
            has_taken: self.has_taken,
        }
    }

    fn index(&self, job: usize) -> Option<usize> {
        self.indices.get(job).copied().flatten()
    }

    /// Takes a step, and checks what it did against what the documentation says.
    fn take(&mut self, step: Step) {
        self.way.push(step);
        let was_collecting = self.state.list == ListState::Collecting;
        let mut expected: Vec<JobState> =
            self.jobs.iter().enumerate().map(|(job, expected)| expected.after(step, job)).collect();
        let lanes = Lanes::default();
        let bounds = Bounds { capacity: &self.capacity, lanes: &lanes, overflow: self.overflow };
        let mut ended: Vec<Ended> = Vec::new();
        match step {
            Step::Add => {
                let kind = self.kinds[self.jobs.len()];
                let entry = kind.entry();
                self.ids.push(entry.id);
                let mut job = Expected {
                    kind,
                    state: JobState::Waiting,
                    attempts: 0,
                    has_task: false,
                    queue: if kind == Kind::Plain { InQueue::No } else { InQueue::Due },
                    passed: false,
                    ends: 0,
                };
                if self.state.makes_room(bounds) {
                    let (index, starts) = self.state.add(entry, Noop, |segment| segment);
                    assert!(!(starts && self.starts), "the list is started once");
                    self.starts |= starts;
                    self.indices.push(Some(index));
                } else {
                    assert_eq!(self.overflow, Overflow::Shed);
                    job = Expected { state: JobState::Ended, ends: 1, ..job };
                    self.indices.push(None);
                }
                expected.push(job.state);
                self.jobs.push(job);
            }
            Step::Hold => {
                let (held_for, _) = self.state.hold(Waker::noop().clone());
                let waiting = self.count(JobState::Waiting);
                assert_eq!(held_for, if was_collecting { waiting } else { 0 });
                self.is_held |= held_for > 0;
            }
            Step::Release => {
                let released = self.state.release(bounds, None);
                assert_eq!(released.is_some(), was_collecting, "a list is released once");
                if let Some(Released { shed, starts, .. }) = released {
                    self.starts = starts;
                    for shed in &shed {
                        let job = self.ids.iter().position(|id| *id == shed.job.id).expect("it was pushed");
                        let is_taken = self.has_taken;
                        assert!(shed.work.is_some() || is_taken, "a job that is shed is dropped");
                        assert_eq!(self.overflow, Overflow::Shed);
                        expected[job] = JobState::Ended;
                    }
                    ended = shed;
                }
            }
            Step::TakeSegment => {
                self.starts = false;
                self.has_taken |= self.state.take_segment().is_some();
            }
            Step::Cancel(job) => ended.extend(self.index(job).and_then(|index| self.state.cancel(index))),
            Step::EndQueued(job) => {
                ended.extend(self.index(job).and_then(|index| self.state.end_queued(index)));
            }
            Step::BeginPush => {
                let (due, freed) = self.state.begin_push(|_| false);
                let expected = expected
                    .iter()
                    .zip(&self.jobs)
                    .filter(|(state, job)| **state == JobState::Pushing && job.state == JobState::Waiting);
                assert_eq!(due.len(), expected.count());
                self.freed(freed);
            }
            Step::PassPush(job) => {
                let passed = self.index(job).and_then(|index| self.state.pass_push(index));
                let is_pushing = self.jobs.get(job).is_some_and(|job| job.state == JobState::Pushing);
                assert_eq!(passed.is_some(), is_pushing);
                if is_pushing {
                    self.jobs[job].passed = true;
                }
            }
            Step::FailPush(job, unsure) => {
                if let Some(index) = self.index(job) {
                    let failed = self.state.fail_push(index, unsure, bounds);
                    let was_pushing = self.jobs[job].state == JobState::Pushing;
                    assert_eq!(failed.job.is_some(), was_pushing);
                    assert!(!(failed.starts && self.starts), "the list is started once");
                    self.starts |= failed.starts;
                    if was_pushing {
                        self.jobs[job].queue = if unsure { InQueue::Unsure } else { InQueue::Failed };
                    }
                }
            }
            Step::Start(job) => {
                if let Some(index) = self.index(job) {
                    let start = self.state.start(index);
                    self.started(job, &start);
                }
            }
            Step::StartPassed(job) => {
                if let Some(index) = self.index(job) {
                    if matches!(self.jobs[job].state, JobState::Waiting | JobState::Backoff) {
                        self.state.pass(index);
                        self.jobs[job].passed = true;
                    }
                    let Ok(start) = self.state.start_passed(index) else { panic!("it has passed") };
                    self.started(job, &start);
                }
            }
            Step::EndAttempt(at, sequel) => {
                match self.index(at).map(|index| self.state.end_attempt(index, sequel)) {
                    Some(AttemptEnd::Ended(job, extras)) => {
                        ended.push(Ended {
                            job,
                            freed: Freed::default(),
                            extras,
                            work: None,
                            wakes: Vec::new(),
                        });
                    }
                    Some(AttemptEnd::Again(..)) => {
                        let job = &mut self.jobs[at];
                        job.has_task = true;
                        if sequel == Sequel::Snooze {
                            job.attempts -= 1;
                            job.passed = true;
                        }
                    }
                    None | Some(AttemptEnd::Gone | AttemptEnd::Return(..)) => {}
                }
            }
            Step::End(job) => ended.extend(self.index(job).and_then(|index| self.state.end(index))),
            Step::EndHandover(job) => {
                ended.extend(self.index(job).and_then(|index| self.state.end_handover(index)));
            }
            Step::Stop(has_queue) => {
                let halted = self.state.stop(has_queue);
                self.freed(halted.freed);
                ended = halted.abandoned;
                assert!(self.state.segments.iter_mut().next().is_none(), "what was stopped is dropped");
            }
            Step::LoseWorker => {
                self.starts = false;
                ended = self.state.lose_worker().abandoned;
            }
        }
        for ended in ended {
            let job = self.ids.iter().position(|id| *id == ended.job.id).expect("it was pushed");
            self.jobs[job].ends += 1;
            assert_eq!(ended.job.attempt, self.jobs[job].attempts);
            self.freed(ended.freed);
        }
        for (job, expected) in self.jobs.iter_mut().zip(expected) {
            job.state = expected;
        }
    }

    fn started(&mut self, at: usize, start: &Start) {
        match start {
            Start::Gone => {}
            Start::Push => assert!(
                self.jobs[at].queue == InQueue::Due || self.jobs[at].state == JobState::Pushing,
                "only a job for the queue is pushed"
            ),
            Start::Delay { .. } => panic!("no job is delayed"),
            Start::Gated => assert_eq!(self.jobs[at].kind, Kind::Conditional),
            Start::Wait | Start::Leave { .. } => panic!("no job has a lane"),
            Start::Started { job, room, .. } => {
                self.jobs[at].attempts += 1;
                assert_eq!(job.attempt, self.jobs[at].attempts);
                let _ = self.capacity.give_back(*room);
            }
        }
    }

    fn freed(&mut self, freed: Freed) {
        let _ = self.capacity.give_back(freed.room);
        if freed.held.is_some() {
            assert!(self.is_held, "a response is woken that was held");
            self.is_held = false;
        }
    }

    fn count(&self, state: JobState) -> usize {
        self.jobs.iter().filter(|job| job.state == state).count()
    }

    fn check(&mut self) {
        let way = &self.way;
        let found: Vec<(JobId, JobState, u32)> =
            self.state.entries.open().map(|(_, entry)| (entry.id, entry.state, entry.attempts)).collect();
        let open: Vec<(JobId, JobState, u32)> = self
            .jobs
            .iter()
            .zip(&self.ids)
            .filter(|(job, _)| job.state != JobState::Ended)
            .map(|(job, id)| (*id, job.state, job.attempts))
            .collect();
        assert_eq!(found, open, "after {way:?}");
        for job in &self.jobs {
            let ends = u32::from(job.state == JobState::Ended);
            assert_eq!(job.ends, ends, "a job is counted once, when it ends: after {way:?}");
        }
        let counts = &self.state.counts;
        assert_eq!(counts.open, open.len());
        assert_eq!(counts.waiting, self.count(JobState::Waiting));
        assert_eq!(counts.running, self.count(JobState::Running));
        assert!(counts.room <= counts.waiting, "room is taken for jobs that wait");
        let free = self.capacity.max() - counts.room;
        assert!(self.capacity.has(free), "room is given back, after {way:?}");
        assert!(counts.room == 0 || !self.capacity.has(free + 1), "room is given back once, after {way:?}");
        let active = self.state.list == ListState::Active;
        assert!(active || !self.starts, "a list that is to be started is active");
    }

    /// What the transitions that may follow depend on.
    fn fingerprint(&mut self) -> impl Eq + std::hash::Hash + use<> {
        let held = self.state.waiters.as_ref().is_some_and(|waiters| waiters.held.is_some());
        let list = self.state.list as u8;
        let segments: Vec<_> = self.state.segments.iter_mut().map(|segment| segment.indices()).collect();
        let jobs: Vec<_> = self.jobs.iter().map(Expected::relevant).collect();
        (jobs, self.state.counts.room, held, list, segments, self.starts)
    }

    /// Ends what is left, as a shutdown does.
    fn finish(&mut self) {
        self.take(Step::Stop(true));
        (0..self.kinds.len()).for_each(|job| self.take(Step::EndHandover(job)));
        assert!(self.jobs.iter().all(|job| job.ends == 1), "every job ends");
        assert_eq!(self.state.open(), 0);
        assert!(self.capacity.has(self.capacity.max()), "all room is given back");
    }
}

/// Explores all states breadth first, each by the shortest way to it. Returns how many transitions were taken.
fn explore(kinds: &'static [Kind], overflow: Overflow, capacity: usize) -> usize {
    let mut first = Model::new(kinds, overflow, capacity);
    let mut seen = HashSet::from([first.fingerprint()]);
    let mut models = VecDeque::from([first]);
    let mut transitions = 0;
    while let Some(from) = models.pop_front() {
        for step in steps(kinds).filter(|step| *step != Step::Add || from.jobs.len() < kinds.len()) {
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
    use Kind::{Conditional, Plain, Queued};
    let kinds: [&[Kind]; 2] = [&[Plain, Plain, Plain], &[Plain, Queued, Conditional]];
    let explored = kinds.into_iter().flat_map(|kinds| {
        let bounds = [(Overflow::Wait, 1), (Overflow::Shed, kinds.len() - 1)];
        bounds.into_iter().map(move |(overflow, capacity)| explore(kinds, overflow, capacity))
    });
    let transitions: usize = explored.sum();
    assert!(transitions > 1_000_000, "only {transitions} transitions were explored");
}
