//! Bytes between two sockets.
