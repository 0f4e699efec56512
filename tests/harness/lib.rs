//! Guards and peers for tests against the real kernel.
