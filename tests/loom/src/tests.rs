use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
};

use loom::{
    future::block_on,
    model::Builder,
    sync::{Arc, atomic::Ordering},
    thread,
};

use crate::{
    capacity::{Admitted, Capacity, Ticket},
    semaphore::{Grantee, Permit, Semaphore},
    stats::{Counters, Final},
};

/// Explores every order of the threads' steps with at most this many preemptions.
fn explore(switches: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(model);
}

/// Waits for room, as a held response does.
async fn admitted(capacity: &Capacity, jobs: usize) {
    let mut ticket = Ticket::default();
    poll_fn(|cx| {
        let (polled, admitted) = capacity.poll(&mut ticket, jobs, cx);
        refill(capacity, admitted);
        polled
    })
    .await;
}

/// Lets held responses through right here, instead of in a task.
fn refill(capacity: &Capacity, mut admitted: Admitted) {
    while admitted == Admitted::MoreSoon {
        admitted = capacity.admit();
    }
}

fn give_back(capacity: &Capacity, jobs: usize) {
    let admitted = capacity.give_back(jobs);
    refill(capacity, admitted);
}

#[test]
fn a_response_that_waits_for_room_hears_of_it() {
    explore(3, || {
        let capacity = Arc::new(Capacity::new(1));
        capacity.take(1);
        let job = {
            let capacity = capacity.clone();
            thread::spawn(move || give_back(&capacity, 1))
        };
        block_on(admitted(&capacity, 1));
        job.join().expect("it does not panic");
        assert!(capacity.has(1), "nobody has taken anything");
    });
}

#[test]
fn two_responses_that_wait_are_both_let_through_whoever_is_first() {
    explore(2, || {
        let capacity = Arc::new(Capacity::new(2));
        capacity.take(2);
        let waits = |jobs: usize| {
            let capacity = capacity.clone();
            thread::spawn(move || {
                block_on(admitted(&capacity, jobs));
                // The response's jobs are released, and start.
                capacity.take(jobs);
                give_back(&capacity, jobs);
            })
        };
        let threads = [waits(2), waits(1)];
        give_back(&capacity, 1);
        give_back(&capacity, 1);
        threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
        assert!(capacity.has(2), "all that was taken was given back");
    });
}

#[test]
fn a_response_that_leaves_its_place_keeps_nobody_waiting() {
    explore(3, || {
        let capacity = Arc::new(Capacity::new(1));
        capacity.take(1);
        let leaves = {
            let capacity = capacity.clone();
            thread::spawn(move || {
                let mut ticket = Ticket::default();
                let (_, admitted) = capacity.poll(&mut ticket, 1, &mut Context::from_waker(Waker::noop()));
                refill(&capacity, admitted);
                let admitted = capacity.leave(&mut ticket);
                refill(&capacity, admitted);
            })
        };
        let job = {
            let capacity = capacity.clone();
            thread::spawn(move || give_back(&capacity, 1))
        };
        block_on(admitted(&capacity, 1));
        leaves.join().expect("it does not panic");
        job.join().expect("it does not panic");
    });
}

#[test]
fn room_is_never_taken_twice_where_jobs_are_shed() {
    explore(3, || {
        let capacity = Arc::new(Capacity::new(2));
        let takes = || {
            let capacity = capacity.clone();
            thread::spawn(move || capacity.take_free(2))
        };
        let threads = [takes(), takes()];
        let taken: usize = threads.map(|thread| thread.join().expect("it does not panic")).iter().sum();
        assert_eq!(taken, 2);
    });
}

/// A list of jobs that runs one of them on the thread that starts it.
#[derive(Clone)]
struct List(Arc<Shared>);

struct Shared {
    semaphore: Semaphore<List>,
    running: loom::sync::atomic::AtomicUsize,
    ran: loom::sync::atomic::AtomicUsize,
}

impl List {
    fn new(permits: usize) -> Self {
        let zero = || loom::sync::atomic::AtomicUsize::new(0);
        Self(Arc::new(Shared { semaphore: Semaphore::new(permits), running: zero(), ran: zero() }))
    }

    fn run(&self) {
        assert_eq!(self.0.running.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.ran.fetch_add(1, Ordering::SeqCst);
    }

    fn ran(&self) -> usize {
        self.0.ran.load(Ordering::SeqCst)
    }
}

impl Grantee for List {
    fn semaphore(&self) -> &Semaphore<Self> {
        &self.0.semaphore
    }

    fn granted(self, permit: Permit<Self>) {
        self.run();
        drop(permit);
    }
}

#[test]
fn every_list_gets_its_permit_and_no_two_run_at_a_time() {
    explore(3, || {
        let list = List::new(1);
        let starts = || {
            let list = list.clone();
            thread::spawn(move || Semaphore::request(list))
        };
        let threads = [starts(), starts()];
        block_on(async {
            let permit = Semaphore::acquire(&list).await;
            list.run();
            let permit = if list.semaphore().is_wanted() { permit.turn().await } else { permit };
            list.run();
            drop(permit);
        });
        threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
        assert_eq!(list.ran(), 4);
    });
}

#[test]
fn a_permit_that_comes_for_a_task_that_is_gone_is_passed_on() {
    explore(3, || {
        let list = List::new(1);
        let first = block_on(Semaphore::acquire(&list));
        let gone = {
            let list = list.clone();
            thread::spawn(move || {
                let mut turn = pin!(Semaphore::acquire(&list));
                let polled = turn.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                if let Poll::Ready(permit) = polled {
                    drop(permit);
                }
            })
        };
        let starts = {
            let list = list.clone();
            thread::spawn(move || Semaphore::request(list))
        };
        drop(first);
        gone.join().expect("it does not panic");
        starts.join().expect("it does not panic");
        drop(block_on(Semaphore::acquire(&list)));
        assert_eq!(list.ran(), 1);
    });
}

#[test]
fn whoever_waits_for_an_idle_runner_sees_every_count() {
    explore(3, || {
        let counters = Arc::new(Counters::default());
        counters.deferred();
        counters.deferred();
        let ends = |how| {
            let counters = counters.clone();
            thread::spawn(move || {
                counters.running_changed(0, 1);
                counters.running_changed(1, 0);
                counters.ended(how);
            })
        };
        let threads = [ends(Final::Succeeded), ends(Final::Abandoned)];
        block_on(counters.idle());
        let stats = counters.snapshot();
        assert_eq!((stats.pending, stats.running, stats.deferred), (0, 0, 2));
        assert_eq!((stats.succeeded, stats.abandoned), (1, 1));
        assert_eq!(counters.completed_so_far(), 1);
        threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
    });
}

#[test]
fn what_two_shutdowns_report_as_completed_never_shrinks() {
    explore(3, || {
        let counters = Arc::new(Counters::default());
        (0..2).for_each(|_| counters.deferred());
        let ends = {
            let counters = counters.clone();
            thread::spawn(move || {
                counters.ended(Final::Abandoned);
                counters.ended(Final::Succeeded);
            })
        };
        let before = counters.completed_so_far();
        let after = counters.completed_so_far();
        assert!(before <= after && after <= 1, "{before}, then {after}");
        ends.join().expect("it does not panic");
    });
}
