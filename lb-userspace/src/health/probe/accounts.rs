//! Accounts of this host, whom commands run as.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use nix::unistd::User;
use tokio::sync::watch;

/// Accounts, each looked up once, and again where it was not found. A look-up may ask others over the network: one
/// that hangs keeps one thread, and those that wait for it.
#[derive(Debug, Default)]
pub(super) struct Accounts(Mutex<HashMap<String, watch::Receiver<Option<User>>>>);

impl Accounts {
    /// The account of a name, if there is one.
    pub(super) async fn of(&self, name: &str) -> Option<User> {
        let mut found = self.look_up(name);
        let user = found.wait_for(Option::is_some).await;
        let user = user.ok().and_then(|user| user.clone());
        if user.is_none() {
            self.lock().remove(name);
        }
        user
    }

    fn look_up(&self, name: &str) -> watch::Receiver<Option<User>> {
        let mut accounts = self.lock();
        if let Some(known) = accounts.get(name) {
            return known.clone();
        }
        let (sender, receiver) = watch::channel(None);
        let wanted = name.to_owned();
        tokio::task::spawn_blocking(move || {
            sender.send_replace(User::from_name(&wanted).ok().flatten());
        });
        accounts.insert(name.to_owned(), receiver.clone());
        receiver
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, watch::Receiver<Option<User>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_known_is_looked_up_once_and_who_is_not_again() {
        let accounts = Accounts::default();
        for _ in 0..3 {
            assert_eq!(accounts.of("root").await.unwrap().uid.as_raw(), 0);
            assert!(accounts.of("nobody-of-that-name").await.is_none());
        }
        let known: Vec<String> = accounts.lock().keys().cloned().collect();
        assert_eq!(known, ["root"]);
    }
}
