//! Assertions about what was deferred.

use std::any::type_name;

use super::recorder::Recorder;
use crate::job::job::Deferrable;

impl Recorder {
    /// Asserts that some deferred job of type `J` satisfies `predicate`.
    ///
    /// # Panics
    ///
    /// If there is none. The message lists what was deferred.
    #[track_caller]
    pub fn assert_deferred<J: Deferrable>(&self, predicate: impl Fn(&J) -> bool) {
        let matching = self.pick(|job: &J| predicate(job).then_some(())).len();
        if matching == 0 {
            let of_type = self.pick(|_: &J| Some(())).len();
            let name = type_name::<J>();
            panic!(
                "no `{name}` that matches was deferred ({of_type} of that type did not match); deferred: {self:?}"
            );
        }
    }

    /// Asserts that exactly `times` jobs of type `J` were deferred.
    ///
    /// # Panics
    ///
    /// If there are more or fewer. The message lists what was deferred.
    #[track_caller]
    pub fn assert_deferred_times<J: Deferrable>(&self, times: usize) {
        let found = self.pick(|_: &J| Some(())).len();
        if found != times {
            panic!("{found} `{}` deferred, not {times}; deferred: {self:?}", type_name::<J>());
        }
    }

    /// Asserts that nothing was deferred.
    ///
    /// # Panics
    ///
    /// If something was. The message lists it.
    #[track_caller]
    pub fn assert_nothing_deferred(&self) {
        if !self.names().is_empty() {
            panic!("something was deferred: {self:?}");
        }
    }

    /// Asserts that no deferred job of type `J` satisfies `predicate`.
    ///
    /// # Panics
    ///
    /// If there is one. The message lists what was deferred.
    #[track_caller]
    pub fn assert_not_deferred<J: Deferrable>(&self, predicate: impl Fn(&J) -> bool) {
        let matching = self.pick(|job: &J| predicate(job).then_some(())).len();
        if matching > 0 {
            panic!("{matching} `{}` deferred that match; deferred: {self:?}", type_name::<J>());
        }
    }

    /// Asserts that jobs with exactly these names were deferred and have not run, in exactly this order, whatever their types
    /// and requests. See [`recorded`](Self::recorded) for the order.
    ///
    /// # Panics
    ///
    /// If others were, or in another order. The message lists both.
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
        let deferred = self.names();
        if deferred != names {
            panic!("not deferred in this order: expected {names:?}, deferred {deferred:?}");
        }
    }
}
