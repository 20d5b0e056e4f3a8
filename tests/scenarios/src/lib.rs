//! The garbage collection scenarios of the specification, through the session API.
