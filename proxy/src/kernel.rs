//! All that we ask of the kernel.

pub mod preflight;
