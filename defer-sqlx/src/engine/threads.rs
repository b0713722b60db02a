//! The threads of a queue, which run independently of the user's runtimes.

use std::{future::Future, sync::Arc, thread, time::Duration};

use tokio::{
    runtime::{Builder, Handle},
    sync::{oneshot, watch},
};

use super::{
    beats,
    clock::Clock,
    engine::{Engine, Settings},
    owner::Owner,
    writer,
};
use crate::{error::Error, store::Store};

/// The time limit for a process's last writes and its sign-off.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Connects on the queue's own thread, and keeps the queue alive there.
pub(crate) async fn start<F>(
    connect: impl FnOnce() -> F + Send + 'static,
    settings: Settings,
) -> Result<Arc<Owner>, Error>
where
    F: Future<Output = Result<Arc<dyn Store>, Error>> + Send + 'static,
{
    let (started, owner) = oneshot::channel();
    spawn("defer-queue", async move {
        let connected = match connect().await {
            Ok(store) => begin(store, settings, Clock::SYSTEM, Handle::current()).await,
            Err(error) => Err(error),
        };
        let (owner, running) = match connected {
            Ok((owner, running)) => (owner, running),
            Err(error) => return drop(started.send(Err(error))),
        };
        let engine = owner.engine().clone();
        // On a thread of its own, so that nothing keeps it from beating.
        if let Err(error) = spawn("defer-beats", running.beats(engine)) {
            return drop(started.send(Err(Error::Store(error.into()))));
        }
        // If the caller no longer waits, the owner is dropped here, and the queue ends.
        drop(started.send(Ok(owner)));
        running.until_the_end().await;
    })
    .map_err(|error| Error::Store(error.into()))?;
    owner.await.unwrap_or_else(|_| Err(Error::Store("the queue's thread is gone".into())))
}

/// Starts on the caller's runtime. The caller spawns the queue's two tasks: its work, and its beats.
#[cfg(test)]
pub(crate) async fn start_here(
    store: Arc<dyn Store>,
    settings: Settings,
    spawn: impl Fn(defer_core::BoxFuture<'static, ()>),
) -> Result<Arc<Owner>, Error> {
    let (owner, running) = begin(store, settings, Clock::TOKIO, Handle::current()).await?;
    spawn(Box::pin(running.beats(owner.engine().clone())));
    spawn(Box::pin(running.until_the_end()));
    Ok(owner)
}

fn spawn(name: &str, work: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(work)).map(drop)
}

/// The tasks that run until the owner is dropped.
struct Running {
    engine: Arc<Engine>,
    end: oneshot::Receiver<()>,
    /// Ends the beats before the holder signs off. Otherwise they would find it missing and take it for dead.
    ends: watch::Sender<bool>,
    ended: watch::Sender<bool>,
}

async fn begin(
    store: Arc<dyn Store>,
    settings: Settings,
    clock: Clock,
    runtime: Handle,
) -> Result<(Arc<Owner>, Running), Error> {
    let engine = Arc::new(Engine::new(store, settings, clock, runtime));
    let holder = engine.described();
    engine.store.register(holder.clone()).await.map_err(|error| Error::Store(error.into()))?;
    engine.identity.set_registered(holder);
    let (end_sender, end) = oneshot::channel();
    let (ends, _) = watch::channel(false);
    let (ended, ended_receiver) = watch::channel(false);
    let owner = Owner::new(engine.clone(), end_sender, ended_receiver);
    Ok((Arc::new(owner), Running { engine, end, ends, ended }))
}

impl Running {
    /// Sends beats until the holder signs off.
    fn beats(&self, engine: Arc<Engine>) -> impl Future<Output = ()> + Send + use<> {
        let mut ends = self.ends.subscribe();
        async move {
            tokio::select! {
                biased;
                _ = ends.wait_for(|ends| *ends) => {}
                () = beats::beat(engine) => {}
            }
        }
    }

    async fn until_the_end(self) {
        let Self { engine, end, ends, ended } = self;
        let writer = writer::write(engine.clone());
        tokio::pin!(writer);
        tokio::select! {
            biased;
            // An error means that the owner was dropped or closed.
            _ = end => {}
            () = &mut writer => {}
            () = beats::tidy(engine.clone()) => {}
        }
        ends.send_replace(true);
        tokio::select! {
            biased;
            () = close(&engine) => {}
            () = &mut writer => {}
        }
        ended.send_replace(true);
    }
}

async fn close(engine: &Arc<Engine>) {
    let _ = tokio::time::timeout(CLOSE_WITHIN, engine.ops.written()).await;
    let farewell = engine.store.unregister(engine.leave());
    match tokio::time::timeout(CLOSE_WITHIN, farewell).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(target: "defer", %error, "the queue could not sign off: other processes will find out that it is gone");
        }
        Err(_) => {
            tracing::warn!(target: "defer", "the queue could not sign off in time: other processes will find out that it is gone")
        }
    }
}
