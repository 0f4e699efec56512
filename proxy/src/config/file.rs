//! The configuration file as it is written.
