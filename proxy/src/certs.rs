//! A small certificate authority for people without one.
