//! From the file as written to [`super::Config`], with every error reported at once.
