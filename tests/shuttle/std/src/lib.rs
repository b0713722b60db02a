//! The standard library with shuttle's locks, atomics and thread-locals. A crate that depends on this one as `std` is compiled
//! against it.

pub use ::std::*;

/// `std::sync`, with shuttle's types where threads synchronize.
pub mod sync {
    pub use ::std::sync::*;
    pub use shuttle::sync::{Mutex, MutexGuard};

    /// `std::sync::atomic`, from shuttle.
    pub mod atomic {
        pub use ::std::sync::atomic::*;
        pub use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
    }
}

/// `std::thread`, with thread-locals that are separate for each thread and task of a schedule.
pub mod thread {
    pub use ::std::thread::*;

    /// A thread-local cell.
    #[derive(Debug)]
    pub struct LocalKey<T: 'static>(
        #[doc(hidden)] pub &'static shuttle::thread::LocalKey<::std::cell::Cell<T>>,
    );

    impl<T> LocalKey<T> {
        /// Replaces the contents of the cell.
        pub fn replace(&'static self, value: T) -> T {
            self.0.with(|cell| cell.replace(value))
        }

        /// Sets the contents of the cell.
        pub fn set(&'static self, value: T) {
            self.0.with(|cell| cell.set(value));
        }

        /// Returns the contents of the cell.
        pub fn get(&'static self) -> T
        where
            T: Copy,
        {
            self.0.with(::std::cell::Cell::get)
        }

        /// Calls a function with the cell, unless the thread has destroyed it.
        pub fn try_with<R>(
            &'static self,
            with: impl FnOnce(&::std::cell::Cell<T>) -> R,
        ) -> ::std::result::Result<R, shuttle::thread::AccessError> {
            self.0.try_with(with)
        }
    }
}

#[doc(hidden)]
pub use shuttle as __shuttle;

/// `std::thread_local!`, for cells.
#[macro_export]
macro_rules! thread_local {
    ($(#[$attr:meta])* static $name:ident: Cell<$t:ty> = const { $init:expr };) => {
        static $name: $crate::thread::LocalKey<$t> = {
            $crate::__shuttle::thread_local! {
                $(#[$attr])*
                static KEY: Cell<$t> = const { $init }
            }
            $crate::thread::LocalKey(&KEY)
        };
    };
}
