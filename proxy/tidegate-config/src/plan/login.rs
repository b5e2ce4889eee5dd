//! Who the gateway is to a server that wants to know.

use std::fmt;

/// Who the gateway is to Redis. Its `Debug` form does not show the password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RedisLogin {
    /// None: the default user.
    pub username: Option<String>,
    /// None: there is no login.
    pub password: Option<String>,
    /// The database's number.
    pub database: u32,
}

impl fmt::Debug for RedisLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RedisLogin { username, database, .. } = self;
        f.debug_struct("RedisLogin")
            .field("username", username)
            .field("database", database)
            .finish_non_exhaustive()
    }
}
