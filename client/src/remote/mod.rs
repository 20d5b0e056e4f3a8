//! The server: repository, TLS, login, REST calls, the upgrade to a session.
