//! Assertions about deferred jobs.

use std::{any::type_name, fmt};

use super::recorder::{Recorder, deferred_on_global};
use crate::{job::job::Deferrable, run::recorded::Recorded};

impl Recorder {
    /// Asserts that some deferred job of type `J` satisfies `predicate`.
    ///
    /// # Panics
    ///
    /// If there is none. The message lists what was deferred, with the fields of the jobs that are `Debug`.
    #[track_caller]
    pub fn assert_deferred<J: Deferrable>(&self, predicate: impl Fn(&J) -> bool) {
        self.assert_deferred_with(|job, _| predicate(job));
    }

    /// Asserts that some deferred job of type `J` satisfies `predicate`. The predicate also sees the job's options: its keys,
    /// its delay, its condition, whether it is durable.
    ///
    /// # Panics
    ///
    /// If there is none. The message lists what was deferred, with the fields of the jobs that are `Debug`.
    ///
    /// ```
    /// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy, defer, scope, testing::Recorder};
    /// # use std::time::Duration;
    /// # struct Remind { cart: u32 }
    /// # impl Job for Remind { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
    /// # impl Deferrable for Remind { const NAME: &'static str = "Remind"; const POLICY: Policy = Policy::new(); }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let recorder = Recorder::new();
    /// scope(recorder.runner(), async {
    ///     defer(Remind { cart: 42 }).unique("remind:42").delay(Duration::from_secs(3600));
    /// })
    /// .await;
    /// recorder.assert_deferred_with::<Remind>(|remind, with| {
    ///     remind.cart == 42 && with.delay() == Some(Duration::from_secs(3600)) && with.unique_key() == Some("remind:42")
    /// });
    /// # }
    /// ```
    #[track_caller]
    pub fn assert_deferred_with<J: Deferrable>(&self, predicate: impl Fn(&J, &Recorded) -> bool) {
        let recorded = self.recorded();
        if matching(&recorded, &predicate) == 0 {
            panic!("no `{}` that matches was deferred; {}", type_name::<J>(), self.tell(&recorded));
        }
    }

    /// Asserts that exactly `times` jobs of type `J` were deferred.
    ///
    /// # Panics
    ///
    /// If there are more or fewer. The message lists what was deferred, with the fields of the jobs that are `Debug`.
    #[track_caller]
    pub fn assert_deferred_times<J: Deferrable>(&self, times: usize) {
        let recorded = self.recorded();
        let found = matching(&recorded, |_: &J, _| true);
        if found != times {
            panic!("{found} `{}` deferred, not {times}; {}", type_name::<J>(), self.tell(&recorded));
        }
    }

    /// Asserts that nothing was deferred.
    ///
    /// # Panics
    ///
    /// If something was. The message lists it, with the fields of the jobs that are `Debug`.
    #[track_caller]
    pub fn assert_nothing_deferred(&self) {
        let recorded = self.recorded();
        if !recorded.is_empty() {
            panic!("something was deferred; {}", self.tell(&recorded));
        }
    }

    /// Asserts that no job of type `J` was deferred.
    ///
    /// # Panics
    ///
    /// If one was. The message lists what was deferred, with the fields of the jobs that are `Debug`.
    #[track_caller]
    pub fn assert_none<J: Deferrable>(&self) {
        let recorded = self.recorded();
        let found = matching(&recorded, |_: &J, _| true);
        if found > 0 {
            panic!("{found} `{}` deferred, not none; {}", type_name::<J>(), self.tell(&recorded));
        }
    }

    /// Asserts that no deferred job of type `J` satisfies `predicate`.
    ///
    /// # Panics
    ///
    /// If there is one. The message lists what was deferred, with the fields of the jobs that are `Debug`.
    #[track_caller]
    pub fn assert_not_deferred<J: Deferrable>(&self, predicate: impl Fn(&J) -> bool) {
        let recorded = self.recorded();
        let found = matching(&recorded, |job, _| predicate(job));
        if found > 0 {
            panic!("{found} `{}` deferred that match; {}", type_name::<J>(), self.tell(&recorded));
        }
    }

    /// Asserts that jobs with exactly these names were deferred and have not run, in exactly this order, across all types and
    /// requests. See [`recorded`](Self::recorded) for the order.
    ///
    /// # Panics
    ///
    /// If other jobs were deferred, or in another order. The message lists both.
    ///
    /// ```
    /// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy, defer, scope, testing::Recorder};
    /// # struct SendWelcome;
    /// # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
    /// # impl Deferrable for SendWelcome { const NAME: &'static str = "SendWelcome"; const POLICY: Policy = Policy::new(); }
    /// # struct AuditLog;
    /// # impl Job for AuditLog { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
    /// # impl Deferrable for AuditLog { const NAME: &'static str = "AuditLog"; const POLICY: Policy = Policy::new(); }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let recorder = Recorder::new();
    /// scope(recorder.runner(), async {
    ///     defer(SendWelcome);
    ///     defer(AuditLog);
    /// })
    /// .await;
    /// recorder.assert_order(&["SendWelcome", "AuditLog"]);
    /// recorder.assert_order(&[SendWelcome::NAME, AuditLog::NAME]);
    /// # }
    /// ```
    #[track_caller]
    pub fn assert_order(&self, names: &[&str]) {
        let recorded = self.recorded();
        let deferred: Vec<_> = recorded.iter().map(Recorded::name).collect();
        if deferred != names {
            panic!("not deferred in this order: expected {names:?}; {}", self.tell(&recorded));
        }
    }

    /// Collects the recorded jobs and the number of jobs deferred elsewhere, for a message.
    fn tell<'a>(&self, recorded: &'a [Recorded]) -> Deferrals<'a> {
        Deferrals { recorded, elsewhere: deferred_on_global().saturating_sub(self.elsewhere) }
    }
}

/// Returns the number of these that are of type `J` and satisfy `predicate`.
fn matching<J: Deferrable>(recorded: &[Recorded], predicate: impl Fn(&J, &Recorded) -> bool) -> usize {
    recorded.iter().filter(|recorded| recorded.job().is_some_and(|job| predicate(job, recorded))).count()
}

struct Deferrals<'a> {
    recorded: &'a [Recorded],
    /// The number of jobs deferred on the global runner meanwhile.
    elsewhere: u64,
}

impl fmt::Display for Deferrals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.recorded.is_empty() { "nothing was deferred" } else { "deferred:" })?;
        for recorded in self.recorded {
            f.write_str("\n- ")?;
            recorded.describe(f)?;
        }
        if self.elsewhere > 0 {
            let (jobs, ran) = (self.elsewhere, if self.elsewhere == 1 { "job ran" } else { "jobs ran" });
            write!(f, "\n{jobs} {ran} on the global runner: is the recorder's layer on this route?")?;
        }
        Ok(())
    }
}
