//! Keeps a response's extensions, which may defer while they are dropped. A server drops them once it has the head.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use defer_core::{Delivery, Scope};
use http::Extensions;

use crate::{
    capture::{RequestHead, ResponseHead},
    outermost::Outermost,
    release::{Release, dropped},
};

/// Lets the server's service drop the extensions of a response in the scope of its request. It is one of the extensions.
#[derive(Clone)]
pub(crate) struct KeptExtensions(Arc<Mutex<Option<Kept>>>);

struct Kept {
    scope: Scope,
    request: RequestHead,
    head: ResponseHead,
}

impl KeptExtensions {
    /// Marks the response's extensions, unless there are none or an inner layer has marked them.
    #[inline]
    pub(crate) fn keep(
        extensions: &mut Extensions,
        scope: &Scope,
        request: &RequestHead,
        head: &ResponseHead,
    ) {
        if !extensions.is_empty() && request.exchange.is_some() {
            Self::mark(extensions, scope, request, head);
        }
    }

    #[cold]
    fn mark(extensions: &mut Extensions, scope: &Scope, request: &RequestHead, head: &ResponseHead) {
        if extensions.get::<Self>().is_some() {
            return;
        }
        Outermost::expect_streaming(request.exchange);
        let kept = Kept { scope: scope.share(), request: request.clone(), head: head.clone() };
        extensions.insert(Self(Arc::new(Mutex::new(Some(kept)))));
    }

    /// Drops the extensions of a response that is sent or dropped, in the scope that marked them.
    #[inline]
    pub(crate) fn drop(extensions: &mut Extensions) {
        if !extensions.is_empty() {
            Self::drop_marked(extensions);
        }
    }

    #[cold]
    fn drop_marked(extensions: &mut Extensions) {
        let Some(Self(kept)) = extensions.remove::<Self>() else { return };
        let Some(kept) = kept.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        // hyper reads this extension (1.12).
        let reason = extensions.remove::<hyper::ext::ReasonPhrase>();
        let rest = mem::take(extensions);
        if let Some(reason) = reason {
            extensions.insert(reason);
        }
        let mut kept = AttachOnDrop { is_new: !kept.scope.is_used(), kept: Some(kept) };
        if let Some(kept) = &mut kept.kept {
            kept.scope.enter(|| drop(rest));
        }
    }
}

/// Attaches the jobs that were deferred meanwhile, even if user code panics.
struct AttachOnDrop {
    kept: Option<Kept>,
    /// The request had deferred nothing before.
    is_new: bool,
}

impl Drop for AttachOnDrop {
    fn drop(&mut self) {
        let Some(Kept { scope, request, head }) = self.kept.take().filter(|_| self.is_new) else { return };
        let Some(list) = scope.list() else { return };
        let release_at = request.config.release_at();
        let mut release = Release::new(list, request, Some(head));
        release.due_at(release_at);
        if let Err(release) = Outermost::attach(release) {
            release.release(dropped(Delivery::Finished), 0);
        }
    }
}
