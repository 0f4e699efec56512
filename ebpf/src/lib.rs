//! What kernel and user space agree on, and the decision itself.
#![no_std]
