//! The tunnel between two sidetracks.
