//! The values that describe a job: how it is run, what it knows of its request, and how it ended.
//!
//! | file | has |
//! |---|---|
//! | `id` | the id of a job |
//! | `policy` | how the jobs of a type are run |
//! | `job_type` | a type of jobs, and one job |
//! | `error` | why an attempt failed, and the crate's other errors |
//! | `failure` | how an attempt failed |
//! | `request`, `response`, `extensions` | what a job knows about its request |
//! | `metadata` | the part of it that a queue stores with a job |
//! | `status` | the status of a job |
//! | `progress` | the progress that a job reports |
//! | `type_map` | values by their types |

pub(crate) mod error;
pub(crate) mod extensions;
pub(crate) mod failure;
pub(crate) mod id;
pub(crate) mod job_type;
pub(crate) mod metadata;
pub(crate) mod policy;
pub(crate) mod progress;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod status;
pub(crate) mod type_map;
