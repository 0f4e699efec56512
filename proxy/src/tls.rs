//! Who is there: TLS in both roles.
