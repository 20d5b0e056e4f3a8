//! What a user or token has beside the entry: rights, a password, a secret.

use api_types::auth::Authid;

use super::control::AccessControl;
use crate::config::ConfigError;

impl AccessControl {
    /// Takes that away. It is done before an entry is removed, so that what fails can be repeated,
    /// and before one is made: whoever gets a name again is to have nothing of the one before.
    pub async fn forget(&self, ids: &[Authid]) -> Result<(), ConfigError> {
        let (tokens, users): (Vec<&Authid>, Vec<&Authid>) =
            ids.iter().partition(|id| id.is_token());
        let tokens: Vec<String> = tokens.iter().map(ToString::to_string).collect();
        if !tokens.is_empty() {
            self.token_secrets().remove(&tokens).await?;
        }
        let users = users.iter().map(|id| &id.user);
        let own = users.filter(|user| user.realm().as_str() == "pbs");
        let own: Vec<String> = own.map(|user| user.name().to_owned()).collect();
        if !own.is_empty() {
            self.password_hashes().remove(&own).await?;
        }
        self.acl()
            .update(None, |tree| {
                ids.iter().for_each(|id| tree.remove_auth_id(id));
                Ok(())
            })
            .await
    }
}
