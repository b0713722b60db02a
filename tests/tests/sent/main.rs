//! The meaning of "sent": no job starts before the last byte of its response was accepted, and each job sees how it ended.

mod bytes;
mod bytes_http2;
mod connect;
mod failed_services;
mod http1;
mod http2;
mod lengths;
mod outermost;
mod races;
mod response_extensions;
mod schedules;
mod shared_memory;
mod unfinished;
mod within;
